//! SSM parameters.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, AwsError, required, unknown_operation};
use crate::clock::Clock;
use crate::shelf::{Shelf, ShelfError, ShelfFile, lock};
use crate::template::{ACCOUNT, REGION};

const MAX_VALUE_BYTES: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Parameter {
    kind: String,
    value: String,
    version: u64,
    modified_at: DateTime<Utc>,
}

/// The parameters of the account.
pub(crate) struct Ssm {
    clock: Clock,
    parameters: Mutex<Shelf<Parameter>>,
}

impl Ssm {
    pub(crate) fn open(file: Option<&ShelfFile>, clock: &Clock) -> Result<Self, ShelfError> {
        Ok(Self { clock: clock.clone(), parameters: Mutex::new(Shelf::open("parameters", file)?) })
    }

    pub(crate) fn call(&self, operation: &str, input: &Value) -> Answer {
        match operation {
            "GetParameter" => self.get(input),
            "PutParameter" => self.put(input),
            _ => Err(unknown_operation(operation)),
        }
    }

    fn get(&self, input: &Value) -> Answer {
        let name = required(input, "Name")?;
        let parameters = lock(&self.parameters);
        let parameter = parameters
            .get(name)
            .ok_or_else(|| AwsError::new("ParameterNotFound", format!("{name} not found.")))?;
        let hidden = parameter.kind == "SecureString" && input["WithDecryption"] != true;
        let value = match hidden {
            // Not a cipher: it only looks as useless to the caller as the real one.
            true => STANDARD.encode(format!("encrypted:{name}:{}", parameter.version)),
            false => parameter.value.clone(),
        };
        let slash = if name.starts_with('/') { "" } else { "/" };
        Ok(json!({"Parameter": {
            "Name": name,
            "Type": parameter.kind,
            "Value": value,
            "Version": parameter.version,
            "LastModifiedDate": parameter.modified_at.timestamp(),
            "ARN": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{slash}{name}"),
            "DataType": "text",
        }}))
    }

    fn put(&self, input: &Value) -> Answer {
        let name = required(input, "Name")?;
        let value = required(input, "Value")?;
        if value.is_empty() || value.len() > MAX_VALUE_BYTES {
            let problem = format!("A value has between 1 and {MAX_VALUE_BYTES} bytes.");
            return Err(AwsError::new("ValidationException", problem));
        }
        let mut parameters = lock(&self.parameters);
        let old = parameters.get(name);
        if old.is_some() && input["Overwrite"] != true {
            let problem = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
            return Err(AwsError::new("ParameterAlreadyExists", problem));
        }
        let kind = input["Type"].as_str().map(str::to_owned);
        let kind = kind.or_else(|| old.map(|old| old.kind.clone()));
        let kind = kind.ok_or_else(|| {
            AwsError::new("ValidationException", "A parameter type is required when you create a parameter.")
        })?;
        let version = old.map_or(1, |old| old.version + 1);
        let parameter = Parameter { kind, value: value.to_owned(), version, modified_at: self.clock.now() };
        parameters.insert(name.to_owned(), parameter)?;
        Ok(json!({"Version": version, "Tier": "Standard"}))
    }
}

#[cfg(test)]
mod tests;
