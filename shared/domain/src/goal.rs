//! Goals: what each figure should reach (seed 000, C8.1).

/// One goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// The figure's name.
    pub id: String,
    pub name: String,
    /// Level of the funnel, 0 to 6, or none for the financial ones.
    pub level: Option<u8>,
    pub unit: Unit,
    pub aim: Aim,
    /// In the unit's smallest part: a count, per mille of a ratio, minor units of money, days.
    pub value: i64,
}

/// What a goal's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number in a month.
    PerMonth,
    /// A ratio, in per mille: 150 is 15 %.
    PerMille,
    /// Money in the currency's minor unit.
    Money,
    /// Days.
    Days,
    /// A plain number.
    Number,
    /// A plain ratio in thousandths: 5000 is 5.0.
    Ratio,
}

/// Which side of the value is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    AtLeast,
    AtMost,
}
