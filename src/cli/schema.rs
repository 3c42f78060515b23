//! `towpath schema`: the JSON Schema of the plan file, for editors. Needs no database.

/// The text to print.
pub fn render_schema() -> String {
    crate::plan::schema::render_schema()
}
