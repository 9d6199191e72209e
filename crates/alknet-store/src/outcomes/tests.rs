use super::*;

const SMALL: Bounds = Bounds { per_identity: 4, bytes_per_identity: 40, in_all: 6 };

fn database() -> Connection {
    let mut sql = Connection::open_in_memory().unwrap();
    crate::migrations::migrate(&mut sql, crate::migrations::STEPS).unwrap();
    sql
}

fn key(identity: &str, key: &str) -> OutcomeKey {
    OutcomeKey { identity: identity.to_owned(), operation: "test/pay".to_owned(), key: key.to_owned() }
}

fn at(now: i64) -> Present {
    Present { now, boot: 7 }
}

fn begun(sql: &Connection, who: &str, name: &str, now: i64) -> Begun {
    begin(sql, &key(who, name), &[1; 32], at(now), SMALL).unwrap()
}

fn ended(sql: &Connection, who: &str, name: &str, now: i64) {
    assert_eq!(begun(sql, who, name, now), Begun::Fresh);
    assert!(end(sql, &key(who, name), "{}", at(now), SMALL).unwrap());
}

fn count(sql: &Connection) -> i64 {
    sql.query_row("SELECT count(*) FROM call_outcomes", [], |row| row.get(0)).unwrap()
}

#[test]
fn the_oldest_end_makes_room_and_running_calls_stay() {
    // STORE-50
    let sql = database();
    assert_eq!(begun(&sql, "a", "runs", 0), Begun::Fresh);
    for number in 1..=4 {
        ended(&sql, "a", &number.to_string(), number);
    }
    assert_eq!(begun(&sql, "a", "2", 9), Begun::Ended("{}".to_owned()), "only the first had to go");
    assert_eq!(begun(&sql, "a", "1", 9), Begun::Fresh);
    assert_eq!(begun(&sql, "b", "other", 9), Begun::Fresh, "another identity has its own room");
    for number in 5..=6 {
        assert_eq!(begun(&sql, "a", &number.to_string(), 9), Begun::Fresh);
    }
    let full = begin(&sql, &key("a", "7"), &[1; 32], at(9), SMALL);
    assert!(matches!(full, Err(JournalError::Full)), "all that it has may be running");
    let later = Present { now: 9, boot: 8 };
    assert_eq!(begin(&sql, &key("a", "7"), &[1; 32], later, SMALL).unwrap(), Begun::Fresh, "they ended with the node");
    assert_eq!(
        begin(&sql, &key("a", "runs"), &[1; 32], later, SMALL).unwrap(),
        Begun::Fresh,
        "the oldest of them went"
    );
}

#[test]
fn large_outcomes_push_out_the_oldest_of_their_identity_only() {
    // STORE-50
    let sql = database();
    ended(&sql, "b", "1", 0);
    for number in 1..=3 {
        assert_eq!(begun(&sql, "a", &number.to_string(), number), Begun::Fresh);
        assert!(end(&sql, &key("a", &number.to_string()), &"x".repeat(18), at(number), SMALL).unwrap());
    }
    assert_eq!(begun(&sql, "a", "1", 4), Begun::Fresh, "3 × 18 bytes are more than 40");
    assert_eq!(begun(&sql, "a", "2", 4), Begun::Ended("x".repeat(18)));
    assert_eq!(begun(&sql, "b", "1", 4), Begun::Ended("{}".to_owned()));
}

#[test]
fn pruning_forgets_what_is_over_and_the_oldest_beyond_the_bound() {
    // STORE-51
    let sql = database();
    let day = OUTCOME_LIFETIME.as_secs().cast_signed();
    assert_eq!(begun(&sql, "a", "runs", 0), Begun::Fresh);
    sql.execute("UPDATE call_outcomes SET boot = 6", []).unwrap();
    assert_eq!(begun(&sql, "b", "runs", 0), Begun::Fresh);
    ended(&sql, "b", "early", 0);
    ended(&sql, "b", "late", 1);
    assert_eq!(prune_some(&sql, at(day - 1), SMALL).unwrap(), 0);
    assert_eq!(prune_some(&sql, at(day), SMALL).unwrap(), 2, "an end, and a beginning that the last start left");
    assert_eq!(begun(&sql, "b", "runs", day), Begun::Unknown, "what runs is kept however long it takes");
    assert_eq!(begun(&sql, "b", "late", day), Begun::Ended("{}".to_owned()));
    for (who, number) in [("c", 1), ("c", 2), ("c", 3), ("d", 4), ("d", 5), ("d", 6)] {
        ended(&sql, who, &number.to_string(), day);
    }
    assert_eq!(count(&sql), 8);
    assert_eq!(prune_some(&sql, at(day), SMALL).unwrap(), 2);
    assert_eq!((count(&sql), begun(&sql, "c", "1", day)), (6, Begun::Fresh), "the two that ended first went");
    assert_eq!(begun(&sql, "b", "runs", day), Begun::Unknown);
}

#[test]
fn an_outcome_that_is_over_is_not_repeated_even_before_the_janitor_comes() {
    // STORE-51
    let sql = database();
    let day = OUTCOME_LIFETIME.as_secs().cast_signed();
    ended(&sql, "a", "k", 5);
    assert_eq!(begun(&sql, "a", "k", day + 4), Begun::Ended("{}".to_owned()));
    assert_eq!(begun(&sql, "a", "k", day + 5), Begun::Fresh);
}

#[test]
fn what_is_remembered_in_all_is_counted_every_now_and_then() {
    // STORE-50
    let sql = database();
    for number in 0..3 * COUNT_OUTCOMES_EVERY {
        ended(&sql, &format!("peer{number}"), "k", 0);
    }
    let most = SMALL.in_all + COUNT_OUTCOMES_EVERY;
    assert!(usize::try_from(count(&sql)).unwrap() <= most, "{} are left", count(&sql));
}
