//! What was asked of the cloud, counted exactly.

use std::collections::BTreeMap;

/// Counts since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Meter {
    /// Capacity that DynamoDB reported, by table. Calls that failed report none.
    pub tables: BTreeMap<String, Units>,
    /// Calls by service and operation, such as `dynamodb:PutItem`, failed ones included.
    pub calls: BTreeMap<String, u64>,
}

/// Consumed capacity in hundredths of a unit: DynamoDB counts in halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Units {
    /// Hundredths of write units.
    pub write: u64,
    /// Hundredths of read units.
    pub read: u64,
}

impl Meter {
    /// Hundredths of write units, all tables together.
    #[must_use]
    pub fn write_units(&self) -> u64 {
        self.tables.values().map(|units| units.write).sum()
    }

    /// Hundredths of read units, all tables together.
    #[must_use]
    pub fn read_units(&self) -> u64 {
        self.tables.values().map(|units| units.read).sum()
    }

    pub(super) fn count_call(&mut self, service: &str, operation: &str) {
        let key = format!("{service}:{operation}");
        *self.calls.entry(key).or_default() += 1;
    }

    pub(super) fn count_units(&mut self, table: &str, write: f64, read: f64) {
        if !self.tables.contains_key(table) {
            self.tables.insert(table.to_owned(), Units::default());
        }
        if let Some(units) = self.tables.get_mut(table) {
            units.write += hundredths(write);
            units.read += hundredths(read);
        }
    }
}

/// Exact for every multiple of 0.01 that is not astronomically large.
fn hundredths(units: f64) -> u64 {
    let digits = format!("{units:.2}").replace('.', "");
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_add_up_without_drift() {
        let mut meter = Meter::default();
        for _ in 0..100_001 {
            meter.count_units("Leads", 0.0, 0.5);
        }
        meter.count_units("Events", 3.0, 0.0);
        assert_eq!(meter.read_units(), 5_000_050);
        assert_eq!(meter.write_units(), 300);
    }
}
