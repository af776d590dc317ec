//! Several rows written together or not at all, each on its own condition.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem},
};
use domain::limits::CONFLICT_RETRIES;
use serde::Serialize;

use crate::{
    CallError,
    tables::{Table, Tables},
};

/// A row of a table in DynamoDB's form.
pub type Item = HashMap<String, AttributeValue>;

/// What must be true of the row as it stands.
#[derive(Debug, Clone)]
pub enum Condition {
    /// There is none.
    Absent,
    /// There is one, and its attribute has this value.
    Equals(&'static str, AttributeValue),
    /// There is one, and both attributes have these values.
    EqualsBoth((&'static str, AttributeValue), (&'static str, AttributeValue)),
    /// There is one, its attribute has this value, and it has no such other attribute.
    EqualsWithout((&'static str, AttributeValue), &'static str),
}

impl Condition {
    /// The row still is the version that was read.
    pub fn version(version: u64) -> Self {
        Self::Equals("version", AttributeValue::N(version.to_string()))
    }

    fn expression(
        &self,
        key: &'static str,
    ) -> (String, HashMap<String, String>, Option<HashMap<String, AttributeValue>>) {
        let name = |attribute: &str| HashMap::from([("#a".to_owned(), attribute.to_owned())]);
        let value = |value: &AttributeValue| Some(HashMap::from([(":v".to_owned(), value.clone())]));
        match self {
            Self::Absent => ("attribute_not_exists(#a)".to_owned(), name(key), None),
            Self::Equals(attribute, expected) => ("#a = :v".to_owned(), name(attribute), value(expected)),
            Self::EqualsWithout((attribute, expected), other) => {
                let names =
                    [("#a".to_owned(), (*attribute).to_owned()), ("#b".to_owned(), (*other).to_owned())];
                ("#a = :v AND attribute_not_exists(#b)".to_owned(), names.into(), value(expected))
            }
            Self::EqualsBoth((one, expected), (two, also_expected)) => {
                let names = [("#a".to_owned(), (*one).to_owned()), ("#b".to_owned(), (*two).to_owned())];
                let values = [(":v".to_owned(), expected.clone()), (":w".to_owned(), also_expected.clone())];
                ("#a = :v AND #b = :w".to_owned(), names.into(), Some(values.into()))
            }
        }
    }
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// All rows were written.
    Done,
    /// Nothing was written: the conditions of these parts, counted from 0, did not hold.
    Refused(Vec<usize>),
}

/// A transaction being put together. DynamoDB allows 100 parts.
#[derive(Debug)]
pub struct Transaction<'a> {
    tables: &'a Tables,
    parts: Vec<TransactWriteItem>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(tables: &'a Tables) -> Self {
        Self { tables, parts: vec![] }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// [`CallError`] if the row can't be put into DynamoDB's form.
    pub fn put(self, table: Table, row: &impl Serialize, condition: &Condition) -> Result<Self, CallError> {
        let item = to_item(row)?;
        Ok(self.put_item(table, item, condition))
    }

    pub(crate) fn tables(&self) -> &'a Tables {
        self.tables
    }

    pub(crate) fn put_item(mut self, table: Table, item: Item, condition: &Condition) -> Self {
        let (expression, names, values) = condition.expression(table.key());
        let put = Put::builder()
            .table_name(self.tables.name(table))
            .set_item(Some(item))
            .condition_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
            .build();
        self.parts.extend(put.ok().map(|put| TransactWriteItem::builder().put(put).build()));
        self
    }

    /// Removes a row.
    pub fn delete(mut self, table: Table, key: &[(&str, &str)], condition: &Condition) -> Self {
        let (expression, names, values) = condition.expression(table.key());
        let key =
            key.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned())));
        let delete = Delete::builder()
            .table_name(self.tables.name(table))
            .set_key(Some(key.collect()))
            .condition_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
            .build();
        self.parts.extend(delete.ok().map(|delete| TransactWriteItem::builder().delete(delete).build()));
        self
    }

    /// Demands something of a row without writing it.
    pub fn check(mut self, table: Table, key: &str, condition: &Condition) -> Self {
        let (expression, names, values) = condition.expression(table.key());
        let check = ConditionCheck::builder()
            .table_name(self.tables.name(table))
            .key(table.key(), AttributeValue::S(key.to_owned()))
            .condition_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
            .build();
        self.parts
            .extend(check.ok().map(|check| TransactWriteItem::builder().condition_check(check).build()));
        self
    }

    /// Writes everything, or nothing. A conflict with another writer is tried again a few times;
    /// the SDK does not do that for transactions.
    ///
    /// # Errors
    /// [`CallError`] if the answer is neither yes nor a plain no: nobody knows whether it was
    /// written, and trying again is safe since every part has a condition.
    pub async fn commit(self, doing: &'static str) -> Result<Commit, CallError> {
        let mut pause = Duration::from_millis(20);
        for _ in 0..CONFLICT_RETRIES {
            let request =
                self.tables.client().transact_write_items().set_transact_items(Some(self.parts.clone()));
            let Err(error) = request.send().await else { return Ok(Commit::Done) };
            let codes = cancellation_codes(error.as_service_error());
            if codes.iter().any(|code| code == "TransactionConflict") {
                self.tables.sleep(pause).await;
                pause *= 2;
                continue;
            }
            let refused: Vec<usize> = codes
                .iter()
                .enumerate()
                .filter(|(_, code)| *code == "ConditionalCheckFailed")
                .map(|(at, _)| at)
                .collect();
            return if refused.is_empty() {
                Err(CallError::new(doing, error))
            } else {
                Ok(Commit::Refused(refused))
            };
        }
        Err(CallError { doing, reason: format!("other writers got there first {CONFLICT_RETRIES} times") })
    }
}

fn cancellation_codes(error: Option<&TransactWriteItemsError>) -> Vec<String> {
    match error {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
            .cancellation_reasons()
            .iter()
            .map(|reason| reason.code().unwrap_or_default().to_owned())
            .collect(),
        _ => vec![],
    }
}

/// A row in DynamoDB's form.
///
/// # Errors
/// [`CallError`] if it has a value that DynamoDB has no type for.
pub(crate) fn to_item(row: &impl Serialize) -> Result<Item, CallError> {
    serde_dynamo::to_item(row)
        .map_err(|error| CallError { doing: "writing a row", reason: error.to_string() })
}
