//! What a user needs to read for a plan, as the statements that give exactly that. Grants nothing
//! itself.

use super::quote::name;
use crate::engine::Duties;

/// For the user that reads: the right to read each table. The position of a snapshot and the
/// catalog need no right of their own.
pub(super) fn source(user: &str, duties: &Duties<'_>) -> Vec<String> {
    if !duties.load && !duties.cutover {
        return Vec::new();
    }
    let mut objects: Vec<_> = duties.tables.iter().chain(duties.sequences).collect();
    objects.sort();
    objects.dedup();
    objects.into_iter().map(|object| format!("GRANT SELECT ON {} TO {user}", name(object))).collect()
}
