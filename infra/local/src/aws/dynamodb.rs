//! DynamoDB and its streams, played by dynoxide on SQLite.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use dynoxide::actions;
use dynoxide::actions::vector_lifecycle::VectorIndexLifecycle;
use dynoxide::storage::{Storage, StreamRecord};
use dynoxide::types::ConsumedCapacity;
use dynoxide::{DynoxideError, streams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::meter::Meter;
use crate::clock::Clock;
use crate::engine::CloudError;
use crate::shelf::{lock, survive_kills};
use crate::template::{REGION, Stack};

/// How long a `ClientRequestToken` protects from doing a transaction twice.
const TOKEN_LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// How long a stream keeps a record.
const STREAM_RETENTION: TimeDelta = TimeDelta::hours(24);

/// Dynoxide's shard ids are shorter than clients of streams accept.
const SHORT_SHARD: &str = "shardId-00000001-";
const LONG_SHARD: &str = "shardId-00000000000000000001-";

/// The tables of a stack.
pub(crate) struct DynamoDb {
    state: Mutex<State>,
    meter: Arc<Mutex<Meter>>,
    clock: Clock,
    streamed: BTreeSet<String>,
}

struct State {
    storage: Storage,
    tokens: Tokens,
    /// Tables whose stream may hold records that were not read yet.
    written: BTreeSet<String>,
    pruned: BTreeMap<String, DateTime<Utc>>,
}

impl DynamoDb {
    pub(crate) fn open(
        stack: &Stack,
        directory: Option<&Path>,
        clock: &Clock,
        meter: Arc<Mutex<Meter>>,
    ) -> Result<Self, CloudError> {
        let storage = match directory {
            Some(directory) => Storage::new(&directory.join("dynamodb.sqlite").to_string_lossy())?,
            None => Storage::memory()?,
        };
        let storage = storage.with_clock(Arc::new(clock.clone()));
        survive_kills(&storage)?;
        // Dynoxide looks for a stream's last number on every write; without this that reads the whole stream.
        let index = "CREATE INDEX IF NOT EXISTS stream_order ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
        storage.conn().execute_batch(index).map_err(DynoxideError::from)?;
        for (name, request) in &stack.tables {
            if storage.table_exists(name)? {
                check_indexes(&storage, name, request)?;
            } else {
                let request = read(request.to_string().as_bytes())?;
                ready(actions::create_table::execute(&storage, request))?;
            }
        }
        let streamed: BTreeSet<String> = stack
            .tables
            .iter()
            .filter(|(_, request)| request.get("StreamSpecification").is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let state =
            State { storage, tokens: Tokens::default(), written: streamed.clone(), pruned: BTreeMap::new() };
        Ok(Self { state: Mutex::new(state), meter, clock: clock.clone(), streamed })
    }

    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> (StatusCode, String) {
        match self.answer(operation, body) {
            Ok(Some(answer)) => (StatusCode::OK, answer),
            Ok(None) => {
                let body = r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#;
                (StatusCode::BAD_REQUEST, body.to_owned())
            }
            Err(error) => {
                let status = StatusCode::from_u16(error.status_code());
                let json: Value = serde_json::from_str(&error.to_json()).unwrap_or_default();
                (status.unwrap_or(StatusCode::BAD_REQUEST), json.to_string())
            }
        }
    }

    /// None if there is no such operation.
    fn answer(&self, operation: &str, body: &[u8]) -> Result<Option<String>, DynoxideError> {
        let body = &*match operation {
            "GetShardIterator" => with_short_shard(body),
            _ => Cow::Borrowed(body),
        };
        let state = &mut *lock(&self.state);
        // Reads the request, runs it with capacity reporting switched on, counts, writes the answer.
        macro_rules! items {
            ($module:ident, $request:ident, $used:ident) => {{
                let mut request: actions::$module::$request = read(body)?;
                let mode = &mut request.return_consumed_capacity;
                let asked = mode.as_deref().is_some_and(|mode| mode != "NONE");
                if !asked {
                    *mode = Some("TOTAL".to_owned());
                }
                let mut response = ready(actions::$module::execute(&state.storage, request))?;
                self.note(state, response.consumed_capacity.entries(), Used::$used);
                if !asked {
                    response.consumed_capacity = None;
                }
                write(&response)
            }};
        }
        macro_rules! tables {
            ($module:ident $(, $more:expr)?) => {
                write(&ready(actions::$module::execute(
                    &state.storage,
                    read(body)?,
                    $($more)?
                ))?)
                .map(as_on_aws)
            };
        }
        let no_vectors = VectorIndexLifecycle::new();
        let answer = match operation {
            "GetItem" => items!(get_item, GetItemRequest, Read),
            "BatchGetItem" => items!(batch_get_item, BatchGetItemRequest, Read),
            "TransactGetItems" => items!(transact_get_items, TransactGetItemsRequest, Read),
            "Query" => items!(query, QueryRequest, Read),
            "Scan" => items!(scan, ScanRequest, Read),
            "PutItem" => items!(put_item, PutItemRequest, Written),
            "UpdateItem" => items!(update_item, UpdateItemRequest, Written),
            "DeleteItem" => items!(delete_item, DeleteItemRequest, Written),
            "BatchWriteItem" => items!(batch_write_item, BatchWriteItemRequest, Written),
            "TransactWriteItems" => {
                let token = Token::of(body)?;
                if state.tokens.already_done(&token, self.clock.now())? {
                    return Ok(Some("{}".to_owned()));
                }
                let answer = items!(transact_write_items, TransactWriteItemsRequest, Written)?;
                state.tokens.done(token, self.clock.now());
                Ok(answer)
            }
            "CreateTable" => tables!(create_table),
            "DeleteTable" => tables!(delete_table, &no_vectors),
            "DescribeTable" => tables!(describe_table, &no_vectors),
            "UpdateTable" => tables!(update_table, &no_vectors),
            "ListTables" => tables!(list_tables),
            "DescribeTimeToLive" => tables!(describe_time_to_live),
            "ListStreams" => tables!(list_streams),
            "DescribeStream" => tables!(describe_stream),
            "GetShardIterator" => tables!(get_shard_iterator),
            "GetRecords" => tables!(get_records),
            _ => return Ok(None),
        };
        answer.map(Some)
    }

    fn note(&self, state: &mut State, consumed: &[ConsumedCapacity], used: Used) {
        let mut meter = lock(&self.meter);
        for entry in consumed {
            let table = &entry.table_name;
            match used {
                Used::Read => meter.count_units(table, 0.0, entry.capacity_units),
                Used::Written => meter.count_units(table, entry.capacity_units, 0.0),
            }
            if used == Used::Written && self.streamed.contains(table) {
                state.written.insert(table.clone());
            }
        }
    }

    /// The records of a table's stream after the one numbered `after`, oldest first.
    pub(crate) fn stream_records(
        &self,
        table: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<StreamRecord>, DynoxideError> {
        let state = &mut *lock(&self.state);
        if !state.written.contains(table) {
            return Ok(Vec::new());
        }
        let shard = streams::shard_id(table);
        let records = state.storage.get_stream_records(table, &shard, after, limit)?;
        if records.is_empty() {
            state.written.remove(table);
        }
        Ok(records)
    }

    /// Forgets records up to the one numbered `handled` that are older than a stream keeps them.
    pub(crate) fn prune_stream(&self, table: &str, handled: i64) -> Result<(), DynoxideError> {
        let now = self.clock.now();
        let state = &mut *lock(&self.state);
        let last = state.pruned.get(table);
        if last.is_some_and(|last| now - *last < TimeDelta::hours(1)) {
            return Ok(());
        }
        let sql = "DELETE FROM _stream_records WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) <= ?2 AND created_at < ?3";
        let before = (now - STREAM_RETENTION).timestamp();
        state.storage.conn().execute(sql, (table, handled, before))?;
        state.pruned.insert(table.to_owned(), now);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    Read,
    Written,
}

trait Entries {
    fn entries(&self) -> &[ConsumedCapacity];
}

impl Entries for Option<ConsumedCapacity> {
    fn entries(&self) -> &[ConsumedCapacity] {
        self.as_slice()
    }
}

impl Entries for Option<Vec<ConsumedCapacity>> {
    fn entries(&self) -> &[ConsumedCapacity] {
        self.as_deref().unwrap_or_default()
    }
}

/// The tokens of transactions that were done lately, with what they did.
#[derive(Default)]
struct Tokens {
    done: BTreeMap<String, u64>,
    order: VecDeque<(DateTime<Utc>, String)>,
}

struct Token {
    name: Option<String>,
    digest: u64,
}

impl Token {
    fn of(body: &[u8]) -> Result<Self, DynoxideError> {
        let request: Value = read(body)?;
        let name = request["ClientRequestToken"].as_str().map(str::to_owned);
        let mut hasher = DefaultHasher::new();
        // A value's keys are sorted, so the same items have the same text.
        request["TransactItems"].to_string().hash(&mut hasher);
        let digest = hasher.finish();
        Ok(Self { name, digest })
    }
}

impl Tokens {
    fn already_done(&mut self, token: &Token, now: DateTime<Utc>) -> Result<bool, DynoxideError> {
        while let Some((at, name)) = self.order.front()
            && now - *at >= TOKEN_LIFETIME
        {
            self.done.remove(name);
            self.order.pop_front();
        }
        let digest = token.name.as_ref().and_then(|name| self.done.get(name));
        match digest {
            None => Ok(false),
            Some(digest) if *digest == token.digest => Ok(true),
            Some(_) => Err(DynoxideError::IdempotentParameterMismatchException(
                "The token was used for another transaction.".to_owned(),
            )),
        }
    }

    fn done(&mut self, token: Token, now: DateTime<Utc>) {
        if let Some(name) = token.name {
            self.order.push_back((now, name.clone()));
            self.done.insert(name, token.digest);
        }
    }
}

/// A table in a file must have the indexes that the template wants: they cannot be added behind the product's back.
fn check_indexes(storage: &Storage, name: &str, request: &Value) -> Result<(), CloudError> {
    let names = |indexes: &Value| -> BTreeSet<String> {
        let indexes = indexes.as_array().into_iter().flatten();
        indexes.filter_map(|index| Some(index["IndexName"].as_str()?.to_owned())).collect()
    };
    let stored = storage.get_table_metadata(name)?;
    let stored: Value = stored
        .and_then(|table| table.gsi_definitions)
        .map_or(Ok(Value::Null), |json| serde_json::from_str(&json))
        .unwrap_or_default();
    if names(&stored) == names(&request["GlobalSecondaryIndexes"]) {
        return Ok(());
    }
    Err(CloudError::TableDiffers(name.to_owned()))
}

/// Dynoxide calls its region and its one shard by its own names.
fn as_on_aws(answer: String) -> String {
    answer
        .replace(SHORT_SHARD, LONG_SHARD)
        .replace(":dynoxide:", &format!(":{REGION}:"))
        .replace("\"dynoxide\"", &format!("\"{REGION}\""))
}

fn with_short_shard(body: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(body).replace(LONG_SHARD, SHORT_SHARD);
    Cow::Owned(text.into_bytes())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = error.to_string();
        // Dynoxide puts the class of some errors in front of the message.
        match message.split_once(':') {
            Some(("SERIALIZATION", rest)) => DynoxideError::SerializationException(rest.to_owned()),
            Some(("VALIDATION" | "VALIDATION_REQUEST", rest)) => {
                DynoxideError::ValidationException(rest.to_owned())
            }
            _ if error.is_data() => DynoxideError::ValidationException(message),
            _ => DynoxideError::SerializationException(message),
        }
    })
}

/// By way of a value, whose keys are sorted: the engine's maps have no fixed order.
fn write<T: Serialize>(answer: &T) -> Result<String, DynoxideError> {
    let value = serde_json::to_value(answer);
    value
        .map(|value| value.to_string())
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// The answer of a future that never waits.
fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).as_mut().poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("dynoxide's SQLite storage never suspends"),
    }
}

#[cfg(test)]
mod tests;
