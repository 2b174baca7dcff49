use futures_util::{FutureExt, future::join_all};

use super::*;

fn gate(budget: Budget) -> Arc<Gate> {
    Budgets::new(budget).gate(&"a.example".parse().unwrap())
}

#[tokio::test]
async fn no_more_than_the_budget_are_inside_at_once() {
    let gate = gate(Budget {
        concurrency: 3,
        ..Budget::default()
    });
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let visit = async || {
        let _pass = gate.enter().await.expect("not crowded");
        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        inside.fetch_sub(1, Ordering::SeqCst);
    };
    join_all((0..40).map(|_| visit())).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_visitor_that_gives_up_waiting_loses_no_place() {
    let gate = gate(Budget {
        concurrency: 1,
        ..Budget::default()
    });
    let first = gate.enter().await.expect("empty");
    let mut second = Box::pin(gate.enter());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    drop(second);
    assert!(gate.enter().now_or_never().is_some_and(|pass| pass.is_ok()));
}

#[tokio::test]
async fn a_long_queue_turns_the_next_one_away() {
    let gate = gate(Budget {
        concurrency: 1,
        waiting_max: 1,
        ..Budget::default()
    });
    let _inside = gate.enter().await.expect("empty");
    let mut waits = Box::pin(gate.enter());
    assert!(waits.as_mut().now_or_never().is_none());
    let mut also = Box::pin(gate.enter());
    assert!(also.as_mut().now_or_never().is_none());
    assert!(matches!(gate.enter().await, Err(Closed::Crowded)));
}

#[tokio::test]
async fn who_holds_a_place_hears_that_it_is_wanted() {
    let gate = gate(Budget {
        concurrency: 2,
        ..Budget::default()
    });
    let first = gate.enter().await.expect("empty");
    let place = first.place();
    let mut wanted = Box::pin(place.wanted());
    assert!(wanted.as_mut().now_or_never().is_none());
    let _second = gate.enter().await.expect("a place is left");
    assert!(wanted.as_mut().now_or_never().is_none(), "nobody waits");
    let mut third = Box::pin(gate.enter());
    assert!(third.as_mut().now_or_never().is_none());
    assert!(wanted.now_or_never().is_some());
    drop(first);
    assert!(third.now_or_never().is_some_and(|pass| pass.is_ok()));
    assert!(place.wanted().now_or_never().is_none(), "that is over");
}

#[tokio::test]
async fn a_body_that_nobody_reads_gives_its_place_to_who_waits() {
    let gate = gate(Budget {
        concurrency: 2,
        idle_max: Duration::ZERO,
        ..Budget::default()
    });
    let (first, second) = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
    let (idle, read) = (first.shelve("idle"), second.shelve("read"));
    let body = read.take().expect("it lies there");
    let third = gate.enter().await.expect("the idle one gives way");
    assert!(idle.take().is_none());
    read.put(body, second.now());
    // Its place is somebody else's by now: giving it back once more would make one too many.
    drop(first);
    let fourth = gate.enter().await.expect("the second one is idle by now");
    assert!(read.take().is_none());
    assert_eq!(gate.state.lock().places.len(), 2);
    drop((second, third, fourth));
    assert!(gate.state.lock().places.is_empty());
}

#[tokio::test]
async fn who_waits_too_long_for_a_place_or_a_turn_is_turned_away() {
    let gate = gate(Budget {
        concurrency: 1,
        wait_max: Duration::from_millis(1),
        requests_per_second: Some(1),
        ..Budget::default()
    });
    let first = gate.enter().await.expect("empty");
    let body = first.shelve("body");
    let _read = body.take();
    assert!(matches!(gate.enter().await, Err(Closed::Crowded)));
    drop(first);
    // A place is there; the next request of this second is not.
    assert!(matches!(gate.enter().await, Err(Closed::Crowded)));
    assert!(gate.state.lock().places.is_empty());
}

#[tokio::test]
async fn a_pause_turns_everybody_away_until_it_ends() {
    let gate = gate(Budget::default());
    gate.pause(Duration::from_secs(7200));
    let Err(Closed::Paused(left)) = gate.enter().await else {
        panic!("let in");
    };
    assert!(left <= Duration::from_secs(60));
}
