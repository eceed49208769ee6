//! The two parsers against each other and against a general one.
