//! Ordered maps that survive the process: what the small services remember besides DynamoDB.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dynoxide::storage::Storage;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A shelf could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The database file failed.
    #[error("the local cloud's state file: {0}")]
    File(#[from] dynoxide::DynoxideError),
    /// A row has a shape that this version does not know.
    #[error("the local cloud's state file holds a row that cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// Locks a mutex. A panic elsewhere does not make the state unusable: every change is one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The database file that shelves are kept in. It is apart from DynamoDB's, whose tables are the product's.
#[derive(Clone)]
pub struct ShelfFile(Arc<Mutex<Storage>>);

impl ShelfFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// If it cannot be opened or is no such file.
    pub fn open(path: &Path) -> Result<Self, ShelfError> {
        let storage = Storage::new(&path.to_string_lossy())?;
        survive_kills(&storage)?;
        let table =
            "CREATE TABLE IF NOT EXISTS shelf (name TEXT, key TEXT, json TEXT, PRIMARY KEY (name, key))";
        storage.conn().execute_batch(table).map_err(file_error)?;
        Ok(Self(Arc::new(Mutex::new(storage))))
    }

    fn read(&self, name: &str) -> Result<Vec<(String, String)>, ShelfError> {
        let storage = lock(&self.0);
        let sql = "SELECT key, json FROM shelf WHERE name = ?1 ORDER BY key";
        let mut rows = storage.conn().prepare(sql).map_err(file_error)?;
        let rows = rows.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)));
        let rows = rows.map_err(file_error)?.collect::<Result<_, _>>();
        Ok(rows.map_err(file_error)?)
    }

    fn put(&self, name: &str, key: &str, json: &str) -> Result<(), ShelfError> {
        let storage = lock(&self.0);
        let sql = "INSERT OR REPLACE INTO shelf (name, key, json) VALUES (?1, ?2, ?3)";
        let statement = storage.conn().prepare_cached(sql);
        let written = statement.and_then(|mut put| put.execute([name, key, json]));
        written.map_err(file_error)?;
        Ok(())
    }

    fn delete(&self, name: &str, key: &str) -> Result<(), ShelfError> {
        let storage = lock(&self.0);
        let sql = "DELETE FROM shelf WHERE name = ?1 AND key = ?2";
        let statement = storage.conn().prepare_cached(sql);
        let deleted = statement.and_then(|mut delete| delete.execute([name, key]));
        deleted.map_err(file_error)?;
        Ok(())
    }
}

/// Makes commits cheap: with a write-ahead log they survive the end of the process, though perhaps
/// not the end of the machine's power.
pub(crate) fn survive_kills(storage: &Storage) -> Result<(), dynoxide::DynoxideError> {
    storage.conn().execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(())
}

fn file_error(error: impl Into<dynoxide::DynoxideError>) -> dynoxide::DynoxideError {
    error.into()
}

/// An ordered map from texts to `T`, written through to a file if there is one.
pub struct Shelf<T> {
    name: String,
    items: BTreeMap<String, T>,
    file: Option<ShelfFile>,
}

impl<T: Serialize + DeserializeOwned> Shelf<T> {
    /// Opens the shelf of that name with what the file holds; without a file it starts empty.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(name: &str, file: Option<&ShelfFile>) -> Result<Self, ShelfError> {
        let mut items = BTreeMap::new();
        if let Some(file) = file {
            for (key, json) in file.read(name)? {
                items.insert(key, serde_json::from_str(&json)?);
            }
        }
        Ok(Self { name: name.to_owned(), items, file: file.cloned() })
    }

    /// The value at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&T> {
        self.items.get(key)
    }

    /// Puts a value at `key`, whatever was there.
    ///
    /// # Errors
    /// If the file cannot be written; the map is unchanged then.
    pub fn insert(&mut self, key: String, value: T) -> Result<(), ShelfError> {
        self.write(&key, &value)?;
        self.items.insert(key, value);
        Ok(())
    }

    /// Changes the value at `key`; none if there is none.
    ///
    /// # Errors
    /// If the file cannot be written; the map has the change then, the file has not.
    pub fn update<R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<Option<R>, ShelfError> {
        let Some(value) = self.items.get_mut(key) else {
            return Ok(None);
        };
        let result = change(value);
        if self.file.is_some() {
            let json = serde_json::to_string(value)?;
            self.write_json(key, &json)?;
        }
        Ok(Some(result))
    }

    /// Takes the value at `key` off the shelf.
    ///
    /// # Errors
    /// If the file cannot be written; the map is unchanged then.
    pub fn remove(&mut self, key: &str) -> Result<Option<T>, ShelfError> {
        if let Some(file) = &self.file {
            file.delete(&self.name, key)?;
        }
        Ok(self.items.remove(key))
    }

    /// Takes everything off the shelf, in order.
    ///
    /// # Errors
    /// If the file cannot be written; what was removed before stays removed.
    pub fn drain(&mut self) -> Result<Vec<T>, ShelfError> {
        if let Some(file) = &self.file {
            for key in self.items.keys() {
                file.delete(&self.name, key)?;
            }
        }
        Ok(std::mem::take(&mut self.items).into_values().collect())
    }

    /// Everything, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.items.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The first entry whose key starts with `prefix`.
    #[must_use]
    pub fn first_with_prefix(&self, prefix: &str) -> Option<(&str, &T)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let (key, value) = self.items.range::<str, _>(from).next()?;
        key.starts_with(prefix).then_some((key.as_str(), value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn write(&self, key: &str, value: &T) -> Result<(), ShelfError> {
        if self.file.is_some() {
            self.write_json(key, &serde_json::to_string(value)?)?;
        }
        Ok(())
    }

    fn write_json(&self, key: &str, json: &str) -> Result<(), ShelfError> {
        if let Some(file) = &self.file {
            file.put(&self.name, key, json)?;
        }
        Ok(())
    }
}

/// Numbers that are never given twice, not even by a later process.
pub struct Counter {
    shelf: Shelf<u64>,
    next: u64,
}

/// How many numbers one write to the file reserves; a killed process wastes at most so many.
const RESERVED: u64 = 1000;
const RESERVED_KEY: &str = "reserved";

impl Counter {
    /// Opens the counter of that name.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(name: &str, file: Option<&ShelfFile>) -> Result<Self, ShelfError> {
        let shelf = Shelf::open(name, file)?;
        let next = shelf.get(RESERVED_KEY).copied().unwrap_or(1);
        Ok(Self { shelf, next })
    }

    /// The next number, from 1.
    ///
    /// # Errors
    /// If the file cannot be written; no number is used up then.
    pub fn draw(&mut self) -> Result<u64, ShelfError> {
        let reserved = self.shelf.get(RESERVED_KEY).copied().unwrap_or(0);
        if self.next >= reserved {
            self.shelf.insert(RESERVED_KEY.to_owned(), self.next + RESERVED)?;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }
}

/// A number as a key that sorts as the number does.
pub(crate) fn numbered(number: u64) -> String {
    format!("{number:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shelf_keeps_what_was_put_changed_and_removed_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.sqlite");
        {
            let file = ShelfFile::open(&path).unwrap();
            let mut shelf: Shelf<u32> = Shelf::open("numbers", Some(&file)).unwrap();
            for (key, value) in [("c", 3), ("a", 1), ("b", 2)] {
                shelf.insert(key.to_owned(), value).unwrap();
            }
            shelf.update("b", |value| *value = 20).unwrap();
            shelf.remove("c").unwrap();
        }
        let file = ShelfFile::open(&path).unwrap();
        let shelf: Shelf<u32> = Shelf::open("numbers", Some(&file)).unwrap();
        assert_eq!(shelf.iter().collect::<Vec<_>>(), [("a", &1), ("b", &20)]);
    }

    #[test]
    fn a_counter_never_gives_a_number_twice_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.sqlite");
        let mut last = 0;
        for _ in 0..3 {
            let file = ShelfFile::open(&path).unwrap();
            let mut counter = Counter::open("ids", Some(&file)).unwrap();
            for _ in 0..1500 {
                let number = counter.draw().unwrap();
                assert!(number > last, "{number} after {last}");
                last = number;
            }
        }
        assert_eq!(Counter::open("ids", None).unwrap().draw().unwrap(), 1);
    }

    #[test]
    fn the_first_entry_with_a_prefix_is_found_without_reading_the_others() {
        let mut shelf: Shelf<u32> = Shelf::open("x", None).unwrap();
        for (value, key) in (1..).zip(["a|2", "b|1", "b|3"]) {
            shelf.insert(key.to_owned(), value).unwrap();
        }
        assert_eq!(shelf.first_with_prefix("b|"), Some(("b|1", &2)));
        assert_eq!(shelf.first_with_prefix("c|"), None);
    }
}
