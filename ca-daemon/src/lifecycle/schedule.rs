//! When a step is due by age.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::succession::{Succession, published_from};

/// A part of a life, between 0 and 1, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64")]
pub struct PartOfLife(u16);

impl PartOfLife {
    /// In thousandths; more than 1000 count as 1000.
    #[must_use]
    pub const fn thousandths(count: u16) -> Self {
        Self(if count > 1000 { 1000 } else { count })
    }
}

impl TryFrom<f64> for PartOfLife {
    type Error = String;

    fn try_from(part: f64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&part) {
            return Err(format!("{part} is no part of a life; write a number between 0 and 1, such as 0.5"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number from 0 to 1000 fits"
        )]
        Ok(Self((part * 1000.0).round() as u16))
    }
}

impl From<PartOfLife> for f64 {
    fn from(part: PartOfLife) -> Self {
        f64::from(part.0) / 1000.0
    }
}

/// When the steps of a line are due.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// At this part of the active one's life its successor is prepared.
    pub prepare_at: PartOfLife,
    /// At this part of its life the successor takes its place.
    pub activate_at: PartOfLife,
    /// How long a successor has been in the trust bundle before it signs.
    pub publish_ahead: Duration,
}

/// A step that age brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueStep {
    /// A successor is prepared.
    Prepare,
    /// The prepared one, of this ID, is activated.
    Activate(String),
}

impl DueStep {
    /// As it stands in messages.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Activate(_) => "activate",
        }
    }
}

impl Schedule {
    /// The next step of a line, and when it is due. `None` for a line that has not begun, and for one whose
    /// successor only an outside CA can sign.
    #[must_use]
    pub fn next(&self, succession: &Succession) -> Option<(DueStep, SystemTime)> {
        let active = succession.active()?;
        match succession.prepared() {
            Some(prepared) => {
                let aged = active.validity.at_thousandths(self.activate_at.0);
                let due = aged.max(published_from(prepared, active, self.publish_ahead));
                Some((DueStep::Activate(prepared.key_id.clone()), due))
            }
            None if active.is_from_outside => None,
            None => Some((DueStep::Prepare, active.validity.at_thousandths(self.prepare_at.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::{BACKDATE, Validity},
        lifecycle::{Line, Member},
        store::AuthorityState,
    };

    const SCHEDULE: Schedule = Schedule {
        prepare_at: PartOfLife::thousandths(500),
        activate_at: PartOfLife::thousandths(833),
        publish_ahead: Duration::from_secs(300),
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn member(state: AuthorityState, begin: u64, end: u64) -> Member {
        let validity = Validity { not_before: at(begin) - BACKDATE, not_after: at(end) };
        Member {
            key_id: format!("{begin}"),
            state,
            tainted: false,
            since: at(begin),
            validity,
            is_from_outside: false,
            is_of_somebody_else: false,
        }
    }

    fn next(members: Vec<Member>) -> Option<(DueStep, SystemTime)> {
        SCHEDULE.next(&Succession::new(Line::Root, members))
    }

    #[test]
    fn prepares_at_half_of_the_life_and_activates_at_five_sixths() {
        let active = member(AuthorityState::Active, 0, 100_000);
        assert_eq!(next(vec![active.clone()]), Some((DueStep::Prepare, at(50_000))));
        let prepared = member(AuthorityState::Prepared, 50_000, 150_000);
        assert_eq!(next(vec![active, prepared]), Some((DueStep::Activate("50000".into()), at(83_300))));
        assert_eq!(next(Vec::new()), None);
    }

    #[test]
    fn leaves_followers_their_time_while_the_active_one_lives() {
        let late = member(AuthorityState::Prepared, 99_500, 199_500);
        let active = member(AuthorityState::Active, 0, 100_000);
        assert_eq!(next(vec![active.clone(), late]).unwrap().1, at(99_800));
        let later = member(AuthorityState::Prepared, 99_900, 199_900);
        assert_eq!(next(vec![active.clone(), later]).unwrap().1, at(100_000));
        let too_late = member(AuthorityState::Prepared, 200_000, 300_000);
        assert_eq!(next(vec![active, too_late]).unwrap().1, at(200_000));
    }

    #[test]
    fn leaves_what_an_outside_ca_signed_to_the_admin() {
        let outside = Member { is_from_outside: true, ..member(AuthorityState::Active, 0, 100_000) };
        assert_eq!(next(vec![outside.clone()]), None);
        let prepared = member(AuthorityState::Prepared, 50_000, 150_000);
        assert!(next(vec![outside, prepared]).is_some());
    }

    #[test]
    fn reads_parts_of_a_life() {
        assert_eq!(PartOfLife::try_from(0.833), Ok(PartOfLife::thousandths(833)));
        assert!(PartOfLife::try_from(1.5).is_err());
        assert!(PartOfLife::try_from(f64::NAN).is_err());
    }
}
