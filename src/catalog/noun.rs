//! Nouns in the number asked for, as every message writes them: `1 view`, `2 policies`.

/// A noun after a number. Kinds of objects that are plural as they stand stay so.
pub fn plural(number: usize, noun: &str) -> String {
    let whole = ["statistics", "privileges", "options", "objects", "security"];
    if number == 1 || whole.iter().any(|end| noun.ends_with(end)) {
        return noun.into();
    }
    for rest in [" analyzed", " dropped", " with ", " without ", " that ", " on "] {
        if let Some((first, _)) = noun.split_once(rest) {
            let rest = noun[first.len()..].replacen(" that is ", " that are ", 1);
            return format!("{}{rest}", plural(number, first));
        }
    }
    for ending in ["s", "x", "ch", "sh"] {
        if noun.ends_with(ending) {
            return format!("{noun}es");
        }
    }
    match noun.strip_suffix('y') {
        Some(stem) if !noun.ends_with("ey") && !noun.ends_with("ay") => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// A small number with its noun.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {}", plural(number, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_follow_their_number() {
        for (number, noun, words) in [
            (1, "view", "1 view"),
            (2, "view", "2 views"),
            (2, "policy", "2 policies"),
            (2, "index", "2 indexes"),
            (2, "operator class", "2 operator classes"),
            (2, "statistics", "2 statistics"),
            (3, "default privileges", "3 default privileges"),
            (2, "forced row security", "2 forced row security"),
            (2, "range type with functions of its own", "2 range types with functions of its own"),
            (2, "check constraint that is not enforced", "2 check constraints that are not enforced"),
            (2, "key without overlaps", "2 keys without overlaps"),
            (0, "unique key", "0 unique keys"),
        ] {
            assert_eq!(counted(number, noun), words);
        }
    }
}
