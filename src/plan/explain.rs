//! Pages for the error codes.
pub static ERRORS: &[(&str, &str, &str)] = &[];
