//! A form's fields, read one by one into types that can't be wrong.

use std::collections::BTreeMap;

use domain::{
    id::Id,
    text::{LongText, ShortText},
};
use serde_json::Value;

use crate::problem::{FieldError, Problem, Status};

/// A form on the way to becoming typed: [`Form::finish`] tells all wrong fields at once.
#[derive(Debug, Clone, Default)]
pub struct Form {
    fields: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl Form {
    /// An object of texts, numbers and booleans; `null` is as good as missing. An object within it
    /// (`"values": {"items": …}`) gives fields with both names (`values.items`).
    ///
    /// # Errors
    /// [`Problem`] if it is no JSON object, or is nested deeper.
    pub fn from_json(body: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| Problem::new(Status::BadRequest, "the body is not valid JSON"))?;
        let Value::Object(object) = value else {
            return Err(Problem::new(Status::BadRequest, "the body must be a JSON object"));
        };
        let mut form = Self::default();
        for (name, value) in object {
            match value {
                Value::Object(inner) => {
                    for (key, value) in inner {
                        form.take(format!("{name}.{key}"), value);
                    }
                }
                value => form.take(name, value),
            }
        }
        Ok(form)
    }

    fn take(&mut self, name: String, value: Value) {
        match value {
            Value::String(text) => _ = self.fields.insert(name, text),
            Value::Bool(_) | Value::Number(_) => _ = self.fields.insert(name, value.to_string()),
            Value::Null => {}
            Value::Array(_) | Value::Object(_) => {
                self.wrong(&name, "must be a text, a number or true or false")
            }
        }
    }

    /// What an HTML form sends.
    ///
    /// # Errors
    /// [`Problem`] if it is not well formed.
    pub fn from_urlencoded(body: &[u8]) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body)
            .map_err(|_| Problem::new(Status::BadRequest, "the body is not a well-formed HTML form"))?;
        Ok(Self { fields: pairs.into_iter().collect(), errors: vec![] })
    }

    /// A field's text, if it has any.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str).filter(|text| !text.trim().is_empty())
    }

    /// The fields whose names begin so, by the rest of their names.
    pub fn group(&self, prefix: &str) -> BTreeMap<String, String> {
        let inside =
            |(name, value): (&String, &String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
        self.fields.iter().filter_map(inside).filter(|(_, value)| !value.trim().is_empty()).collect()
    }

    /// A check box: `on`, `true`, `yes` or `1`.
    pub fn checked(&self, field: &str) -> bool {
        self.text(field).is_some_and(|text| {
            matches!(text.trim().to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1")
        })
    }

    /// A field of a type of its own. An empty one is none; a wrong one is noted and none.
    pub fn optional<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.text(field).map(parse)? {
            Ok(value) => Some(value),
            Err(error) => {
                let message = error.to_string();
                self.wrong(field, &message);
                None
            }
        }
    }

    /// As [`Form::optional`], but an empty one is wrong too.
    pub fn required<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.text(field).is_none() {
            self.wrong(field, "is required");
            return None;
        }
        self.optional(field, parse)
    }

    /// A short text.
    pub fn short(&mut self, field: &str) -> Option<ShortText> {
        self.optional(field, ShortText::parse)
    }

    /// A free text.
    pub fn long(&mut self, field: &str) -> Option<LongText> {
        self.optional(field, LongText::parse)
    }

    /// An id.
    pub fn id(&mut self, field: &str) -> Option<Id> {
        self.optional(field, Id::parse)
    }

    /// The campaign parameters `utm_*`, bounded like any short text.
    pub fn utm(&mut self) -> BTreeMap<String, String> {
        ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.short(name)?.as_str().to_owned())))
            .collect()
    }

    /// Notes that a field is wrong.
    pub fn wrong(&mut self, field: &str, message: &str) {
        self.errors.push(FieldError { field: field.to_owned(), message: message.to_owned() });
    }

    /// The value made of the fields, unless any of them was wrong.
    ///
    /// # Errors
    /// [`Problem`] naming every wrong field.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        match (self.errors.is_empty(), value) {
            (true, Some(value)) => Ok(value),
            _ => Err(Problem::fields(self.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut form = Form::from_json(br#"{"name": "a\nb", "source": ["x"], "visitor_id": "A B"}"#).unwrap();
        let id = form.required("id", Id::parse);
        form.short("name");
        form.id("visitor_id");
        let problem = form.finish(id).unwrap_err();
        let fields: Vec<&str> = problem.errors().iter().map(|error| error.field.as_str()).collect();
        assert_eq!((problem.status(), fields), (422, vec!["source", "id", "name", "visitor_id"]));
    }

    #[test]
    fn json_and_html_forms_say_the_same() {
        let json = Form::from_json(r#"{"consent": true, "name": "花子", "phone": null}"#.as_bytes()).unwrap();
        let html = Form::from_urlencoded("consent=on&name=%E8%8A%B1%E5%AD%90&phone=".as_bytes()).unwrap();
        for form in [json, html] {
            assert_eq!(
                (form.checked("consent"), form.text("name"), form.text("phone")),
                (true, Some("花子"), None)
            );
        }
    }

    #[test]
    fn an_object_within_the_form_is_a_group_of_fields() {
        let form = Form::from_json(br#"{"values": {"items": "a", "count": 2, "none": null}}"#).unwrap();
        let group: Vec<_> = form.group("values.").into_iter().collect();
        assert_eq!(group, [("count".to_owned(), "2".to_owned()), ("items".to_owned(), "a".to_owned())]);
        let deeper = Form::from_json(br#"{"values": {"items": {}}}"#).unwrap();
        let told = deeper.finish(None::<()>).unwrap_err();
        assert_eq!(told.errors()[0].field, "values.items");
    }

    #[test]
    fn what_is_no_form_is_told_so() {
        for (body, expected) in [
            (&b"{"[..], "the body is not valid JSON"),
            (b"[]", "the body must be a JSON object"),
            (b"\xff", "the body is not valid JSON"),
        ] {
            assert_eq!(Form::from_json(body).unwrap_err().detail(), expected);
        }
    }
}
