use proptest::prelude::*;
use rstest::rstest;

use super::*;

const HINT: Duration = Duration::from_secs(300);
const YEAR: u64 = 31_557_600;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn member(key_id: &str, state: AuthorityState, tainted: bool) -> Member {
    let validity = Validity { not_before: at(0), not_after: at(YEAR) };
    Member {
        key_id: key_id.into(),
        state,
        tainted,
        since: at(0),
        validity,
        is_from_outside: false,
        is_of_somebody_else: false,
    }
}

fn full(line: Line) -> Succession {
    let members = vec![
        member("prepared", AuthorityState::Prepared, false),
        member("active", AuthorityState::Active, false),
        member("old", AuthorityState::Old, false),
        member("tainted", AuthorityState::Old, true),
        member("revoked", AuthorityState::Revoked, true),
    ];
    Succession::new(line, members)
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Activate,
    Taint,
    Revoke,
}

fn take(succession: &Succession, step: Step, key_id: &str, force: bool) -> Result<Vec<Move>, StepError> {
    match step {
        Step::Activate => succession.activate(key_id, HINT, at(300), force),
        Step::Taint => succession.taint(key_id),
        Step::Revoke => succession.revoke(key_id, force),
    }
}

#[rstest]
#[case(Step::Activate, "", "no authority ID provided")]
#[case(Step::Activate, "nobody", "unexpected authority ID")]
#[case(Step::Activate, "active", "unexpected authority ID")]
#[case(Step::Activate, "revoked", "unexpected authority ID")]
#[case(Step::Activate, "old", "only Prepared authorities can be activated")]
#[case(Step::Taint, "", "no authority ID provided")]
#[case(Step::Taint, "nobody", "unexpected authority ID")]
#[case(Step::Taint, "active", "unable to taint current local authority")]
#[case(Step::Taint, "prepared", "only Old local authorities can be tainted")]
#[case(Step::Taint, "revoked", "only Old local authorities can be tainted")]
#[case(Step::Revoke, "", "no authority ID provided")]
#[case(Step::Revoke, "nobody", "unexpected authority ID")]
#[case(Step::Revoke, "active", "unable to revoke current local authority")]
fn refuses_a_step_from_the_wrong_state(
    #[values(Line::Root, Line::Jwt)] line: Line,
    #[case] step: Step,
    #[case] key_id: &str,
    #[case] reason: &str,
    #[values(false, true)] force: bool,
) {
    assert_eq!(take(&full(line), step, key_id, force).unwrap_err().to_string(), reason);
}

#[rstest]
#[case(Line::Root, "prepared", StepError::RevokesOther)]
#[case(Line::Root, "revoked", StepError::RevokesOther)]
#[case(Line::Jwt, "prepared", StepError::RevokesPreparedKey)]
#[case(Line::Jwt, "revoked", StepError::UnexpectedId)]
fn revokes_only_what_is_old(#[case] line: Line, #[case] key_id: &str, #[case] error: StepError) {
    assert_eq!(full(line).revoke(key_id, true).unwrap_err(), error);
}

#[test]
fn revokes_the_untainted_only_by_force() {
    let succession = full(Line::Root);
    assert_eq!(succession.revoke("old", false).unwrap_err(), StepError::NotTainted(Line::Root));
    assert_eq!(succession.revoke("old", true).unwrap()[0].state, AuthorityState::Revoked);
    assert_eq!(succession.revoke("tainted", false).unwrap()[0].state, AuthorityState::Revoked);
}

#[test]
fn activates_when_followers_know_it_or_by_force() {
    let succession = full(Line::Jwt);
    let refused = succession.activate("prepared", HINT, at(299), false);
    assert_eq!(refused.unwrap_err(), StepError::NotPublished { until: at(300) });
    assert!(succession.activate("prepared", HINT, at(299), true).is_ok());
    let moves = succession.activate("prepared", HINT, at(300), false).unwrap();
    let moves: Vec<_> = moves.iter().map(|m| (m.key_id.as_str(), m.state)).collect();
    assert_eq!(moves, [("active", AuthorityState::Old), ("prepared", AuthorityState::Active)]);
}

#[test]
fn waits_no_longer_than_the_active_one_lives() {
    let mut active = member("active", AuthorityState::Active, false);
    active.validity.not_after = at(10);
    let succession = Succession::new(Line::Root, vec![active, member("p", AuthorityState::Prepared, false)]);
    assert!(succession.activate("p", HINT, at(9), false).is_err());
    assert!(succession.activate("p", HINT, at(10), false).is_ok());
}

#[test]
fn prepares_once() {
    let succession = full(Line::Root);
    assert_eq!(succession.prepare(false).unwrap(), Preparation::Stands("prepared".into()));
    let Preparation::Make(moves) = succession.prepare(true).unwrap() else { panic!("it stands") };
    assert_eq!(moves, [Move { key_id: "prepared".into(), state: AuthorityState::Revoked, tainted: false }]);
    assert_eq!(Succession::new(Line::Root, Vec::new()).prepare(false).unwrap_err(), StepError::NotBegun);
}

#[derive(Debug, Clone)]
enum Try {
    Prepare(bool),
    Activate(usize, bool),
    Taint(usize),
    Revoke(usize, bool),
    Wait(u64),
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = prop_oneof![
        any::<bool>().prop_map(Try::Prepare),
        (0..8_usize, any::<bool>()).prop_map(|(n, force)| Try::Activate(n, force)),
        (0..8_usize).prop_map(Try::Taint),
        (0..8_usize, any::<bool>()).prop_map(|(n, force)| Try::Revoke(n, force)),
        (0..400_u64).prop_map(Try::Wait),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    /// Whatever is tried in whatever order: one authority signs, it is trusted, and trust is only ever taken from one
    /// that no longer signs.
    #[test]
    fn never_loses_the_one_that_signs(line in prop_oneof![Just(Line::Root), Just(Line::Jwt)], tries in tries()) {
        let mut succession = Succession::new(line, vec![member("0", AuthorityState::Active, false)]);
        let mut now = 0;
        for step in tries {
            let id = |n: usize| n.to_string();
            let before = succession.clone();
            let moves = match step {
                Try::Wait(seconds) => {
                    now += seconds;
                    continue;
                }
                Try::Prepare(force) => match succession.prepare(force).unwrap() {
                    Preparation::Stands(_) => continue,
                    Preparation::Make(moves) => {
                        let next = Member { since: at(now), ..member(&id(succession.members.len()), AuthorityState::Prepared, false) };
                        apply(&mut succession, &moves, now);
                        succession.members.push(next);
                        Ok(Vec::new())
                    }
                },
                Try::Activate(n, force) => succession.activate(&id(n), HINT, at(now), force),
                Try::Taint(n) => succession.taint(&id(n)),
                Try::Revoke(n, force) => succession.revoke(&id(n), force),
            };
            if let Ok(moves) = moves {
                apply(&mut succession, &moves, now);
            }
            let count = |state| succession.members.iter().filter(|member| member.state == state).count();
            prop_assert_eq!(count(AuthorityState::Active), 1);
            prop_assert!(count(AuthorityState::Prepared) <= 1);
            for (old, new) in before.members.iter().zip(&succession.members) {
                prop_assert!(new.state >= old.state, "{:?} became {:?}", old, new);
                prop_assert!(new.tainted >= old.tainted);
                prop_assert!(!new.tainted || new.state >= AuthorityState::Old);
                if old.state == AuthorityState::Active {
                    prop_assert_ne!(new.state, AuthorityState::Revoked);
                }
            }
        }
    }
}

fn apply(succession: &mut Succession, moves: &[Move], now: u64) {
    for step in moves {
        let member = succession.members.iter_mut().find(|member| member.key_id == step.key_id).unwrap();
        if member.state != step.state {
            member.since = at(now);
        }
        (member.state, member.tainted) = (step.state, step.tainted);
    }
}
