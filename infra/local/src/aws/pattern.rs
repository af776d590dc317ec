//! EventBridge event patterns: exact values, prefixes and existence.

use serde_json::Value;

/// A compiled event pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Vec<(String, Node)>);

#[derive(Clone, Debug)]
enum Node {
    Inner(Pattern),
    AnyOf(Vec<Matcher>),
}

#[derive(Clone, Debug)]
enum Matcher {
    Is(Value),
    StartsWith(String),
    Exists(bool),
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If it is no pattern, or uses a kind of matching other than the ones above.
    pub fn parse(pattern: &Value) -> Result<Self, String> {
        let map = pattern.as_object().ok_or("a pattern is an object")?;
        let fields = map.iter().map(|(field, value)| {
            let node = match value {
                Value::Object(_) => Node::Inner(Self::parse(value)?),
                Value::Array(choices) => {
                    let matchers = choices.iter().map(Matcher::parse);
                    Node::AnyOf(matchers.collect::<Result<_, _>>()?)
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(format!("{field} must be a list or an object"));
                }
            };
            Ok((field.clone(), node))
        });
        Ok(Self(fields.collect::<Result<_, String>>()?))
    }

    /// Whether an event fits.
    #[must_use]
    pub fn matches(&self, event: &Value) -> bool {
        self.0.iter().all(|(field, node)| {
            let found = event.get(field);
            match node {
                Node::Inner(pattern) => pattern.matches(found.unwrap_or(&Value::Null)),
                Node::AnyOf(matchers) => matchers.iter().any(|matcher| matcher.fits(found)),
            }
        })
    }
}

impl Matcher {
    fn parse(choice: &Value) -> Result<Self, String> {
        let Value::Object(map) = choice else {
            return Ok(Self::Is(choice.clone()));
        };
        match map.iter().next() {
            Some((kind, Value::String(text))) if kind == "prefix" && map.len() == 1 => {
                Ok(Self::StartsWith(text.clone()))
            }
            Some((kind, Value::Bool(expected))) if kind == "exists" && map.len() == 1 => {
                Ok(Self::Exists(*expected))
            }
            _ => Err(format!("{choice} is not known to the local cloud")),
        }
    }

    fn fits(&self, found: Option<&Value>) -> bool {
        if let Self::Exists(expected) = self {
            return found.is_some() == *expected;
        }
        // An event's list fits if one of its values does.
        match found {
            Some(Value::Array(values)) => values.iter().any(|value| self.fits_one(value)),
            Some(value) => self.fits_one(value),
            None => false,
        }
    }

    fn fits_one(&self, value: &Value) -> bool {
        match self {
            Self::Is(expected) => value == expected,
            Self::StartsWith(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Exists(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pattern_fits_as_in_eventbridge() {
        let event = json!({"source": "aws.ses", "detail-type": "Email Opened",
            "detail": {"mail": {"tags": {"ses:configuration-set": ["michi"]}}, "n": 1}});
        let table = [
            (json!({"source": ["aws.ses"]}), true),
            (json!({"source": ["aws.s3", "aws.ses"]}), true),
            (json!({"source": ["michi"]}), false),
            (json!({"detail-type": [{"prefix": "Email "}]}), true),
            (json!({"detail-type": [{"prefix": "Mail "}]}), false),
            (json!({"detail": {"mail": {"tags": {"ses:configuration-set": ["michi"]}}}}), true),
            (json!({"detail": {"mail": {"tags": {"ses:configuration-set": ["other"]}}}}), false),
            (json!({"detail": {"missing": {"deep": ["x"]}}}), false),
            (json!({"detail": {"n": [1]}}), true),
            (json!({"detail": {"missing": [{"exists": false}]}}), true),
        ];
        for (pattern, expected) in table {
            let compiled = Pattern::parse(&pattern).unwrap();
            assert_eq!(compiled.matches(&event), expected, "{pattern}");
        }
    }

    #[test]
    fn a_kind_of_matching_that_is_not_played_here_is_an_error() {
        let problem = Pattern::parse(&json!({"source": [{"anything-but": "x"}]})).unwrap_err();
        assert!(problem.contains("anything-but"), "{problem}");
    }
}
