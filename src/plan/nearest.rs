//! The name a user probably meant: edit distance over the names in scope, with a threshold by
//! length so that nothing far-fetched is proposed.

/// The nearest of `names`, if one is near. Equal but for case counts as nearest of all.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = wrong.chars().count();
    // Longer texts are no misspelt names, and the distance costs the product of both lengths.
    if length > 128 {
        return None;
    }
    let folded = wrong.to_lowercase();
    let most = (length / 3).clamp(1, 4);
    names
        .into_iter()
        .filter(|name| name.len() <= 512)
        .map(|name| (strsim::damerau_levenshtein(&folded, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, name)| (*distance, *name))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn proposes_what_is_near_and_nothing_else() {
        assert_eq!(nearest("tabels", ["tables", "types"]), Some("tables"));
        assert_eq!(nearest("Users", ["users", "user"]), Some("users"));
        assert_eq!(nearest("shiped_at", ["id", "shipped_at"]), Some("shipped_at"));
        assert_eq!(nearest("x", ["users"]), None);
        assert_eq!(nearest("colour", ["limits"]), None);
    }
}
