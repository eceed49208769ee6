//! Where in a file mutants can be: its expressions, guards, arms and fields, by their first byte.

use std::collections::HashMap;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Bytes of a file.
pub type Bytes = Range<usize>;

/// `left operator right`.
#[derive(Debug, Clone)]
pub struct Binary {
    /// The expression.
    pub whole: Bytes,
    /// What stands before the operator.
    pub left: Bytes,
    /// What stands after it.
    pub right: Bytes,
    /// Whether a `let` is part of it, which cannot be put into parentheses.
    pub binds: bool,
}

/// A guard of an arm.
#[derive(Debug, Clone)]
pub struct Guard {
    /// What stands after its `if`.
    pub whole: Bytes,
    /// Whether a `let` is part of it.
    pub binds: bool,
}

/// An arm of a `match`.
#[derive(Debug, Clone)]
pub struct Arm {
    /// The last byte of its pattern.
    pub pattern_end: usize,
    /// Its guard.
    pub guard: Option<Guard>,
}

/// A field of a struct expression.
#[derive(Debug, Clone)]
pub struct Field {
    /// The struct expression.
    pub whole: Bytes,
    /// What to leave out to delete it: with its comma.
    pub field: Bytes,
}

/// The places of one file.
#[derive(Debug, Default)]
pub struct Places {
    /// By the first byte of the operator.
    pub binaries: HashMap<usize, Binary>,
    /// The whole and its operand, by the first byte of the operator.
    pub unaries: HashMap<usize, (Bytes, Bytes)>,
    /// By the first byte after `if`.
    pub guards: HashMap<usize, Guard>,
    /// By the first byte of the pattern.
    pub arms: HashMap<usize, Arm>,
    /// By the first byte of the field.
    pub fields: HashMap<usize, Field>,
    /// What is computed while compiling, where nothing can be chosen at run time.
    pub constants: Vec<Bytes>,
    /// What only a build with another feature has.
    pub featured: Vec<Bytes>,
}

impl Places {
    /// Those of a file's text.
    ///
    /// # Errors
    /// If it is not Rust.
    pub fn of(text: &str) -> syn::Result<Places> {
        let mut places = Places::default();
        places.visit_file(&syn::parse_file(text)?);
        Ok(places)
    }

    /// Whether `at` is computed while compiling.
    pub fn is_constant(&self, at: usize) -> bool {
        self.constants.iter().any(|constant| constant.contains(&at))
    }

    /// Whether `at` is in no build that has not all features.
    pub fn is_featured(&self, at: usize) -> bool {
        self.featured.iter().any(|item| item.contains(&at))
    }

    fn constant(&mut self, item: &impl Spanned) {
        self.constants.push(bytes(item));
    }

    fn conditions(&mut self, item: &impl Spanned, attributes: &[syn::Attribute]) {
        let asks_for_feature = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| {
                    list.parse_args::<syn::MetaNameValue>()
                        .is_ok_and(|condition| condition.path.is_ident("feature"))
                })
        };
        if attributes.iter().any(asks_for_feature) {
            self.featured.push(bytes(item));
        }
    }
}

fn bytes(node: &impl Spanned) -> Bytes {
    node.span().byte_range()
}

fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(both) => binds(&both.left) || binds(&both.right),
        _ => false,
    }
}

impl<'a> Visit<'a> for Places {
    fn visit_expr_binary(&mut self, node: &'a syn::ExprBinary) {
        let binary = Binary {
            whole: bytes(node),
            left: bytes(&node.left),
            right: bytes(&node.right),
            binds: binds(&node.left) || binds(&node.right),
        };
        self.binaries.insert(bytes(&node.op).start, binary);
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'a syn::ExprUnary) {
        self.unaries.insert(bytes(&node.op).start, (bytes(node), bytes(&node.expr)));
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'a syn::Arm) {
        let guard = node
            .guard
            .as_ref()
            .map(|(_, condition)| Guard { whole: bytes(condition), binds: binds(condition) });
        if let Some(guard) = &guard {
            self.guards.insert(guard.whole.start, guard.clone());
        }
        let pattern = bytes(&node.pat);
        self.arms.insert(pattern.start, Arm { pattern_end: pattern.end, guard });
        visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'a syn::ExprStruct) {
        for pair in node.fields.pairs() {
            let field = bytes(pair.value());
            let end = pair.punct().map_or(field.end, |comma| bytes(comma).end);
            let place = Field { whole: bytes(node), field: field.start..end };
            self.fields.insert(field.start, place);
        }
        visit::visit_expr_struct(self, node);
    }

    fn visit_item_mod(&mut self, node: &'a syn::ItemMod) {
        self.conditions(node, &node.attrs);
        visit::visit_item_mod(self, node);
    }

    fn visit_item_fn(&mut self, node: &'a syn::ItemFn) {
        self.conditions(node, &node.attrs);
        if node.sig.constness.is_some() {
            self.constant(node);
        }
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'a syn::ImplItemFn) {
        if node.sig.constness.is_some() {
            self.constant(node);
        }
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_item_const(&mut self, node: &'a syn::ItemConst) {
        self.constant(node);
        visit::visit_item_const(self, node);
    }

    fn visit_impl_item_const(&mut self, node: &'a syn::ImplItemConst) {
        self.constant(node);
        visit::visit_impl_item_const(self, node);
    }

    fn visit_item_static(&mut self, node: &'a syn::ItemStatic) {
        self.constant(node);
        visit::visit_item_static(self, node);
    }

    fn visit_expr_repeat(&mut self, node: &'a syn::ExprRepeat) {
        self.constant(&node.len);
        visit::visit_expr_repeat(self, node);
    }
}
