//! The list of cases that are known not to agree with Linux yet.

use std::collections::BTreeMap;

/// Parses `topic/name  reason` lines; `#` begins a comment line. Every entry needs a reason and may stand only once.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut known = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if !name.contains('/') || reason.trim().is_empty() {
            return Err(format!("line {number}: not of the form `topic/name  reason`"));
        }
        if known.insert(name.to_string(), reason.trim().to_string()).is_some() {
            return Err(format!("line {number}: {name} is listed twice"));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn takes_entries_and_refuses_careless_ones() {
        let known = parse("# comment\n\nfds/dup  not there yet\n").unwrap();
        assert_eq!(known["fds/dup"], "not there yet");
        assert!(parse("fds/dup\n").is_err());
        assert!(parse("dup reason\n").is_err());
        assert!(parse("a/b one\na/b two\n").is_err());
    }
}
