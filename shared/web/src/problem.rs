//! What went wrong, for programs: `application/problem+json` (RFC 9457).

use serde::Serialize;

/// The statuses in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    BadRequest,
    Forbidden,
    NotFound,
    Conflict,
    Gone,
    TooLarge,
    UnsupportedMediaType,
    Unprocessable,
    /// Ours, and worth another try.
    Unavailable,
}

impl Status {
    /// The number.
    pub fn code(self) -> i64 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Unprocessable => 422,
            Self::Unavailable => 503,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::Conflict => "Conflict",
            Self::Gone => "No longer valid",
            Self::TooLarge => "Too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::Unprocessable => "Some fields are not right",
            Self::Unavailable => "Try again later",
        }
    }
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: i64,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field's name in the form.
    pub field: String,
    /// What is wrong and how to mend it; never what was entered.
    pub message: String,
}

impl Problem {
    /// A problem with the request as a whole.
    pub fn new(status: Status, detail: &str) -> Self {
        Self { kind: "about:blank", title: status.title(), status: status.code(), detail: detail.to_owned(), errors: vec![] }
    }

    /// A problem with some fields.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::new(Status::Unprocessable, &detail) }
    }

    /// A problem with one field.
    pub fn field(field: &str, message: &str) -> Self {
        Self::fields(vec![FieldError { field: field.to_owned(), message: message.to_owned() }])
    }

    /// Another status for the same fields.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { title: status.title(), status: status.code(), ..self }
    }

    /// The HTTP status.
    pub fn status(&self) -> i64 {
        self.status
    }

    /// The sentence for a reader.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }
}
