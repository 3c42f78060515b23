//! The plan file as written: serde types with places.
