//! Marks of branches, by which tests see that each one is reached. The product has none of it.

#[cfg(any(test, feature = "sim"))]
mod recorded {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// This branch was reached.
    pub(crate) fn reached(branch: &'static str) {
        REACHED.with_borrow_mut(|reached| reached.insert(branch));
    }

    /// Every branch of the decision, in the order of the source.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = &'static str> {
        let marks = include_str!("decide.rs").split("reached(\"").skip(1);
        marks.filter_map(|rest| rest.split('"').next())
    }

    /// The branches that this thread has reached since it last asked.
    pub(crate) fn take() -> BTreeSet<&'static str> {
        REACHED.take()
    }
}

#[cfg(test)]
pub(crate) use recorded::all;
#[cfg(any(test, feature = "sim"))]
pub(crate) use recorded::{reached, take};

/// Nobody counts.
#[cfg(not(any(test, feature = "sim")))]
pub(crate) fn reached(_branch: &'static str) {}
