//! The members of a SET, which are text parted by commas, as the text of an array and back. No member holds
//! a comma; that none is empty or begins like an array is for the plan to see to.

/// Appends `{a,"b c"}` for `a,b c`, and `{}` for the empty set: as PostgreSQL itself prints it (Arrays, "Array
/// Input and Output Syntax"), so that a default is what the catalog tells of it.
pub fn append_array(members: &str, to: &mut String) {
    to.push('{');
    for (at, member) in members.split(',').filter(|member| !member.is_empty()).enumerate() {
        if at > 0 {
            to.push(',');
        }
        let blank = |letter| matches!(letter, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
        let odd = |letter| matches!(letter, '"' | '\\' | '{' | '}') || blank(letter);
        if !member.contains(odd) && !member.eq_ignore_ascii_case("null") {
            to.push_str(member);
            continue;
        }
        to.push('"');
        for letter in member.chars() {
            if matches!(letter, '"' | '\\') {
                to.push('\\');
            }
            to.push(letter);
        }
        to.push('"');
    }
    to.push('}');
}

/// Appends `a,b` for an array as PostgreSQL prints it; none where it is not a flat one of texts that a SET
/// can have as its members.
pub fn append_members(array: &str, to: &mut Vec<u8>) -> Option<()> {
    let inside = array.strip_prefix('{')?.strip_suffix('}')?;
    let mut letters = inside.chars().peekable();
    while letters.peek().is_some() {
        let start = to.len();
        let quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.next() {
                Some('"') if quoted => break,
                Some('{' | '}' | '"') if !quoted => return None,
                Some('\\') => append(letters.next()?, to)?,
                Some(letter) => append(letter, to)?,
                None if quoted => return None,
                None => break,
            }
            if !quoted && letters.peek() == Some(&',') {
                break;
            }
        }
        let null = !quoted && to[start..].eq_ignore_ascii_case(b"null");
        if null || to.len() == start {
            return None;
        }
        match letters.next() {
            None => break,
            Some(',') if letters.peek().is_some() => to.push(b','),
            Some(_) => return None,
        }
    }
    Some(())
}

fn append(letter: char, to: &mut Vec<u8>) -> Option<()> {
    (letter != ',').then(|| to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(members: &str) -> String {
        let mut text = String::new();
        append_array(members, &mut text);
        text
    }

    fn members(array: &str) -> Option<String> {
        let mut bytes = Vec::new();
        append_members(array, &mut bytes)?;
        String::from_utf8(bytes).ok()
    }

    #[test]
    fn m_12_members_become_an_array_and_come_back() {
        assert_eq!(array(""), "{}");
        assert_eq!(array("a,b c,Null"), r#"{a,"b c","Null"}"#);
        for set in ["", "a", "a,b", "NULL,null", "b\"\\,}{,ж 'x", " , "] {
            assert_eq!(members(&array(set)).as_deref(), Some(set), "{set}");
        }
    }

    #[test]
    fn m_12_arrays_as_they_are_printed() {
        assert_eq!(members("{a,b}").as_deref(), Some("a,b"));
        assert_eq!(members(r#"{a,"b c","NULL",x}"#).as_deref(), Some("a,b c,NULL,x"));
        let none =
            ["a", "{a", "{a,}", "{NULL}", "{{a}}", "{\"\"}", "{\"a,b\"}", "{\"a\"b}", "[0:0]={a}", "{,a}"];
        for none in none {
            assert_eq!(members(none), None, "{none}");
        }
    }
}
