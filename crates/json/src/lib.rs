//! Schema-directed decoding of JSON bytes into Arrow columns with Spark's rules.
