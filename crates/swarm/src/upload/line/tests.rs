use types::PieceIndex;

use super::*;

/// Runs a script of `ask CHILD PIECE [bg|!|invited]`, `next`, `ending CHILD PIECE`, `release CHILD PIECE`, `ended CHILD PIECE`, `gone CHILD`, `drain`,
/// `stuck CHILD`, `moves CHILD`,
/// `tell` and `hint`, with pieces above 99 in another task, and returns what was said, joined by spaces.
fn check(script: &str, expected: &str) {
    check_with(2, script, expected);
}

fn check_with(waiting_max: u8, script: &str, expected: &str) {
    let slots = 2;
    let policy = UploadPolicy { slots, waiting_max };
    let mut uploads = Uploads::new(policy, RateLimit::new(None, Moment::ZERO));
    let mut said = Vec::new();
    for line in script.split(", ") {
        let words: Vec<&str> = line.split(' ').collect();
        let transfer = || {
            let piece: u32 = words[2].parse().expect("a piece");
            Transfer {
                to: HostNo(words[1].parse().expect("a child")),
                task: TaskId::from_bytes([u8::from(piece > 99); 32]),
                run: PieceRun::one(PieceIndex(piece)),
            }
        };
        let show = |transfer: Transfer| format!("{}:{}", transfer.to.0, transfer.run.first.0);
        match words[0] {
            "ask" => {
                let class = if words.get(3) == Some(&"bg") {
                    Class::Background
                } else {
                    Class::Foreground
                };
                let standing = match words.get(3) {
                    Some(&"!") => Standing::Urgent,
                    Some(&"invited") => Standing::Invited,
                    _ => Standing::Usual,
                };
                match uploads.request(transfer(), class, standing) {
                    Ok(None) => {}
                    Ok(Some(displaced)) => said.push(format!("away {}", show(displaced))),
                    Err(refusal) => said.push(format!("{refusal:?}")),
                }
            }
            "next" => match uploads.next(Moment::ZERO, |_| ByteCount(1)) {
                Some(transfer) => said.push(show(transfer)),
                None => said.push("-".into()),
            },
            "ending" => {
                uploads.ending(&transfer(), true);
            }
            "stuck" | "moves" => {
                let child = HostNo(words[1].parse().expect("a child"));
                uploads.stuck(child, words[0] == "stuck");
            }
            "release" => {
                uploads.ending(&transfer(), false);
            }
            "tell" => {
                let children = || (1..=9).map(HostNo).collect();
                let told = uploads.whom_to_tell(Moment::ZERO, children);
                said.extend(told.iter().map(|host| format!("to {}", host.0)));
            }
            "ended" => assert!(uploads.ended(&transfer())),
            "gone" => uploads.forget(HostNo(words[1].parse().expect("a child"))),
            "drain" => said.extend(uploads.drain().into_iter().map(show)),
            "hint" => said.push(format!(
                "{}+{}",
                uploads.hint().free,
                uploads.hint().opening
            )),
            other => panic!("unknown step {other}"),
        }
    }
    assert_eq!(said.join(" "), expected, "{script}");
}

#[test]
fn two_are_served_two_wait_and_the_next_is_sent_elsewhere() {
    check(
        "ask 1 1, ask 2 2, ask 3 3, ask 4 4, ask 5 5, next, next, next",
        "Busy 1:1 2:2 -",
    );
    check(
        "ask 1 1, ask 2 2, next, next, ask 3 3, ask 4 4, ask 5 5, ended 1 1, next",
        "1:1 2:2 Busy 3:3",
    );
}

#[test]
fn a_child_that_was_served_least_goes_first() {
    check(
        "ask 1 1, next, ended 1 1, ask 2 1, next, ended 2 1, ask 1 2, ask 3 1, next, next",
        "1:1 2:1 3:1 1:2",
    );
}

#[test]
fn the_background_is_served_last() {
    check(
        "ask 1 1 bg, ask 2 2, ask 3 3, next, next, ended 2 2, next",
        "2:2 3:3 1:1",
    );
}

#[test]
fn the_background_gives_way_in_line_and_keeps_no_slot() {
    check_with(
        0,
        "ask 1 1 bg, ask 2 2 bg, ask 3 3, ask 4 4 bg, ask 5 5 !, next, next",
        "away 2:2 Busy away 1:1 5:5 3:3",
    );
    check_with(
        0,
        "ask 1 1 bg, ask 2 2, next, next, ending 1 1, ask 3 3, ask 1 4 bg, ended 1 1, next",
        "2:2 1:1 Busy 3:3",
    );
}

#[test]
fn urgency_is_taken_on_a_childs_word_for_one_request_at_a_time() {
    check(
        "ask 1 1 !, ask 2 2, next, next, ask 3 3, ask 4 4, ask 1 5 !, ask 5 6 !",
        "1:1 2:2 Busy away 4:4",
    );
}

#[test]
fn two_children_of_one_task_do_not_keep_both_slots_from_another_task() {
    let full = "ask 1 1, ask 2 2, next, next, ask 3 100, ask 4 4";
    check_with(
        0,
        &format!(
            "{full}, ending 1 1, tell, ask 1 5, ask 3 100, ended 1 1, next, ending 2 2, ask 2 6"
        ),
        "1:1 2:2 Busy Busy to 3 Busy 3:100",
    );
    check_with(
        0,
        "ask 1 1, ask 2 2, next, next, ask 4 4, ending 1 1, ask 1 5, ended 1 1, next",
        "1:1 2:2 Busy 1:5",
    );
}

#[test]
fn an_urgent_request_goes_first_and_displaces_one_that_is_not() {
    check(
        "ask 1 1, ask 2 2, next, next, ask 3 3, ask 4 4, ask 5 5 !, ended 1 1, next",
        "1:1 2:2 away 4:4 5:5",
    );
    check(
        "ask 1 1, ask 2 2, next, next, ask 3 3 !, ask 4 4 !, ask 5 5 !",
        "1:1 2:2 Busy",
    );
}

#[test]
fn an_invited_request_finds_a_place_in_a_full_line() {
    check(
        "ask 1 1, ask 2 2, next, next, ask 3 3, ask 4 4, ask 5 5 invited, ask 6 6, ended 1 1, next",
        "1:1 2:2 Busy 5:5",
    );
}

#[test]
fn hints_tell_what_is_free_and_what_is_about_to_be() {
    check(
        "hint, ask 1 1, hint, next, hint, ask 2 2, next, hint",
        "2+0 1+0 1:1 1+0 2:2 0+0",
    );
    check(
        "ask 1 1, next, ask 2 2, next, ending 1 1, release 1 1, hint, ask 3 3, hint, ending 2 2, release 2 2, hint",
        "1:1 2:2 0+1 0+0 0+1",
    );
}

#[test]
fn a_slot_that_is_about_to_end_is_kept_for_its_child() {
    let full = "ask 1 1, ask 2 2, next, next, ask 7 7, ask 8 8";
    check(
        &format!("{full}, ending 1 1, hint, ask 3 3, ask 1 4, ask 1 5, ended 1 1, next, next"),
        "1:1 2:2 0+0 Busy Busy 7:7 -",
    );
    check(
        "ask 1 1, ask 2 2, next, next, ending 1 1, ask 1 4, ended 1 1, hint, next, hint",
        "1:1 2:2 0+0 1:4 0+0",
    );
    check(
        "ask 1 1, ask 2 2, next, next, ending 1 1, ended 1 1, hint",
        "1:1 2:2 1+0",
    );
}

#[test]
fn a_second_request_for_the_same_piece_is_refused() {
    check(
        "ask 1 1, ask 1 1, next, ask 1 1, ask 1 2, next",
        "Duplicate 1:1 Duplicate 1:2",
    );
}

#[test]
fn who_is_gone_holds_no_slot() {
    check(
        "ask 1 1, ask 2 2, next, next, gone 1, ask 3 3, next, hint",
        "1:1 2:2 3:3 0+0",
    );
}

#[test]
fn draining_refuses_and_lets_what_runs_end() {
    check(
        "ask 1 1, next, ask 2 2, ask 3 3, drain, ask 4 4, next, ended 1 1, hint",
        "1:1 2:2 3:3 Draining - 0+0",
    );
}

#[test]
fn a_rate_limit_delays_the_next_transfer() {
    let policy = UploadPolicy {
        slots: 2,
        waiting_max: 2,
    };
    let mut uploads = Uploads::new(policy, RateLimit::new(Some(ByteCount(1000)), Moment::ZERO));
    let transfer = |piece| Transfer {
        to: HostNo(1),
        task: TaskId::from_bytes([0; 32]),
        run: PieceRun::one(PieceIndex(piece)),
    };
    for piece in 0..2 {
        uploads
            .request(transfer(piece), Class::Foreground, Standing::Usual)
            .expect("room in the line");
    }
    assert!(uploads.next(Moment::ZERO, |_| ByteCount(1000)).is_some());
    assert_eq!(uploads.next(Moment::ZERO, |_| ByteCount(1000)), None);
    let later = uploads.deadline(Moment::ZERO).expect("one waits");
    assert!(later.since(Moment::ZERO).as_millis() >= 750, "{later}");
    assert!(uploads.next(later, |_| ByteCount(1000)).is_some());
}

#[test]
fn a_child_that_takes_nothing_holds_no_slot_until_it_goes_on() {
    let begun = "ask 1 1, ask 1 2, next, next, ask 2 3, ask 2 4, ask 3 5";
    check_with(0, begun, "1:1 1:2 Busy Busy Busy");
    check_with(
        0,
        &format!("{begun}, stuck 1, hint, ask 2 3, next, ask 2 4, next, ask 3 5"),
        "1:1 1:2 Busy Busy Busy 2+0 2:3 2:4 Busy",
    );
    check_with(
        0,
        &format!(
            "{begun}, stuck 1, ask 2 3, next, moves 1, ask 3 5, ended 1 1, ended 1 2, ask 3 5, next"
        ),
        "1:1 1:2 Busy Busy Busy 2:3 Busy 3:5",
    );
}
