//! Verification over the memory engine: what it must find.
