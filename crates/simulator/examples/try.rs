use std::{collections::BTreeMap, time::{Duration, Instant}};
use simulator::world::*;
fn main() {
    let args: BTreeMap<String, String> = std::env::args().skip(1).filter_map(|a| a.split_once('=').map(|(k, v)| (k.into(), v.into()))).collect();
    let get = |k: &str, d: f64| args.get(k).map_or(d, |v| v.parse().unwrap());
    let n = get("n", 1000.0) as u32;
    let k = get("k", 256.0) as u32;
    let len = 1u64 << 20;
    let rate = len as f64 * 10.0; // piece time 0.1 s
    let mut upload = swarm::upload::UploadPolicy::default();
    upload.slots = get("us", 2.0) as u8;
    upload.waiting_max = get("wait", 0.0) as u8;
    let mut download = swarm::download::DownloadPolicy::default();
    download.slots = get("ds", 2.0) as u8;
    download.ahead = get("ahead", 1.0) as u8;
    download.window = get("window", 8.0) as u32;
    download.read_ahead_pieces = get("ra", 8.0) as u32;
    download.import_streams = get("streams", 2.0) as u8;
    download.reveals = get("reveals", 2.0) as u8;
    
    let start = Instant::now();
    let mut world = World::new(Setup { hosts: n, pieces: k, piece_length: len, rate, origin_rate: rate * get("origin", 1.0), delay: Duration::from_secs_f64(0.1 * get("delay", 0.1)), degree: get("deg", 30.0) as usize, quiet: get("quiet", 0.0) > 0.0, pick: get("pick", 3.0) as u8, tell: get("tell", 0.02), offer: get("offer", 1.0) as usize, seed: get("seed", 1.0) as u64, upload, download, in_order: get("order", 1.0) > 0.0 });
    let times = world.run();
    let unit = k as f64 * len as f64 / rate;
    let mut t: Vec<f64> = times.iter().skip(1).filter_map(|t| t.map(|t| t / unit)).collect();
    t.sort_by(f64::total_cmp);
    if std::env::var_os("STORY").is_some() { for (p, s) in world.story.iter().enumerate().take(k as usize) { eprintln!("piece {p} imported {:.2} left +{:.2} half +{:.2} all +{:.2} at {:.2}", s[0], s[1]-s[0], s[2]-s[1], s[3]-s[2], s[3]); } }
    if t.is_empty() { println!("nobody finished"); return; }
    println!("done {}/{} p50 {:.3} p99 {:.3} max {:.3} | seed {:?} origin {:.3} reqs {} | msgs/host have {:.0} slots {:.0} want {:.0} busy {:.0} cancel {} lacks {} | sent/need {:.4} wasted {} | {:.1}s",
        t.len(), n, t[t.len()/2], t[t.len()*99/100], t[t.len()-1], times[0].map(|t| t/unit), world.imported as f64 / (k as f64 * len as f64), world.requests,
        world.messages[0] as f64/n as f64, world.messages[1] as f64/n as f64, world.messages[2] as f64/n as f64, world.messages[3] as f64/n as f64, world.messages[4], world.messages[5], world.sent as f64 / (n as f64 * k as f64), world.wasted, start.elapsed().as_secs_f64());
}
