use super::*;

fn difference(effect: &str, action: &str, fields: &[&str]) -> Difference {
    Difference {
        effect: effect.to_owned(),
        object: "web".to_owned(),
        action: action.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    }
}

fn state(differences: &[Difference], runs: bool) -> State {
    let mut found = Found::default();
    for one in differences {
        found.differs(one, runs);
    }
    found.standing("web".to_owned(), None).state
}

#[test]
fn a_container_that_is_down_degrades_what_runs_and_is_drift_where_nothing_does() {
    let down = difference("containers.ensure", "update", &["state"]);
    assert_eq!(state(std::slice::from_ref(&down), true), State::Degraded);
    assert_eq!(state(std::slice::from_ref(&down), false), State::Drifted);
    assert_eq!(state(&[], true), State::Healthy);
}

#[test]
fn the_worst_that_is_found_counts() {
    let changed = difference("containers.ensure", "replace", &["env.A"]);
    let gone = difference("containers.ensure", "create", &["image"]);
    let route = difference("routes.ensure", "create", &["backends"]);
    assert_eq!(state(std::slice::from_ref(&changed), true), State::Drifted);
    assert_eq!(state(&[route], true), State::Drifted);
    assert_eq!(state(&[changed, gone], true), State::Missing);
}
