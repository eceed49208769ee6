//! The bytes of an input, cut into choices and data. What is cut off is at the front, so that the
//! rest stays what it is in the corpus.

/// Input that is left.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// One of `all`, by the next byte.
    pub fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// Up to the next `end`, which is left out; everything where there is none.
    pub fn until(&mut self, end: u8) -> &'a [u8] {
        let at = self.0.iter().position(|b| *b == end).unwrap_or(self.0.len());
        let (found, rest) = self.0.split_at(at);
        self.0 = rest.get(1..).unwrap_or_default();
        found
    }

    /// The rest as text, if it is.
    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }
}
