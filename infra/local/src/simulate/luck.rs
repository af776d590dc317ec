//! Luck that belongs to a person and an occasion: it does not depend on what others do, or on the
//! order in which things are drawn, so that two funnels can be tried on the same people.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The luck of one simulation.
#[derive(Debug, Clone, Copy)]
pub struct Luck(u64);

impl Luck {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number of `from..=until`, always the same for the same person and occasion.
    pub fn between(self, person: usize, occasion: &str, from: i64, until: i64) -> i64 {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        hash.update(person.to_be_bytes());
        hash.update(occasion.as_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into()).random_range(from..=until.max(from))
    }

    /// Whether something happens that happens to so many of a thousand.
    pub fn strikes(self, person: usize, occasion: &str, per_mille: u32) -> bool {
        self.between(person, occasion, 0, 999) < i64::from(per_mille)
    }

    /// One of several by weight: its place in the list. The first one if no weight is given.
    pub fn choose(self, person: usize, occasion: &str, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let total: u32 = weights.clone().sum();
        let mut rest = self.between(person, occasion, 0, i64::from(total) - 1);
        for (at, weight) in weights.enumerate() {
            rest -= i64::from(weight);
            if rest < 0 {
                return at;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_is_even_and_belongs_to_person_and_occasion() {
        let luck = Luck::new(7);
        let struck = (0..10_000).filter(|person| luck.strikes(*person, "open", 350)).count();
        assert!((3_300..3_700).contains(&struck), "{struck}");
        let draws = |person, occasion| {
            (0..3).map(|_| luck.between(person, occasion, 0, 1_000_000)).collect::<Vec<_>>()
        };
        assert!(draws(1, "open").windows(2).all(|pair| pair[0] == pair[1]));
        assert_ne!(draws(1, "open"), draws(2, "open"));
        assert_ne!(draws(1, "open"), draws(1, "click"));
    }

    #[test]
    fn weights_are_kept() {
        let luck = Luck::new(7);
        let chosen: Vec<usize> =
            (0..10_000).map(|person| luck.choose(person, "plan", [50, 30, 20].into_iter())).collect();
        let count = |at| chosen.iter().filter(|choice| **choice == at).count();
        assert!((4_800..5_200).contains(&count(0)) && (1_800..2_200).contains(&count(2)));
    }
}
