//! What went wrong, for programs: `application/problem+json` (RFC 9457).

use serde::Serialize;

/// The statuses in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    Gone,
    /// What the request was made for has changed since.
    Outdated,
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
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::Outdated => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Unprocessable => 422,
            Self::Unavailable => 503,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::Unauthorized => "Who are you?",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::Conflict => "Conflict",
            Self::Gone => "No longer valid",
            Self::Outdated => "Outdated",
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
        Self {
            kind: "about:blank",
            title: status.title(),
            status: status.code(),
            detail: detail.to_owned(),
            errors: vec![],
        }
    }

    /// A problem with some fields.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect::<Vec<_>>()
            .join("; ");
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

/// Why a handler has no ordinary answer.
#[derive(Debug)]
pub enum Failure {
    /// The request's fault, or nobody's: to be told.
    Problem(Problem),
    /// Ours: to be logged, and to be tried again.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(Box::new(error))
    }
}

impl Failure {
    /// The problem to tell. What is broken is logged here, once, and told without details.
    pub fn into_problem(self, route: &str) -> Problem {
        match self {
            Self::Problem(problem) => problem,
            Self::Broken(error) => {
                tracing::error!(route, error = %error, "a request could not be served");
                Problem::new(Status::Unavailable, "something went wrong on our side; try again in a moment")
            }
        }
    }
}
