//! From a source type to a target type: one loop over wider types, with what each step loses.
