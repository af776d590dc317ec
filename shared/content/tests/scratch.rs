use std::fs;
use std::path::Path;
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
#[test]
fn scratch() {
    for name in ["coaching", "shop", "webinar", "saas-trial", "b2b"] {
        let start = std::time::Instant::now();
        let checked = content::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels").join(name));
        println!("===== {name} {:?} {:?}", checked.funnel.is_some(), start.elapsed());
        for p in checked.problems.iter().filter(|p| !p.what.contains("page is missing")) {
            if p.file.starts_with("mails/") && p.is_error() && !std::env::var("ALL").is_ok() {
                continue;
            }
            println!("{p}");
        }
    }
}
#[test]
fn cases() {
    let Ok(text) = fs::read_to_string("/tmp/cases.json") else { return };
    let data: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut out = vec![];
    for case in data["cases"].as_array().unwrap() {
        let dir = std::env::temp_dir().join("michi-scratch");
        let _ = fs::remove_dir_all(&dir);
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels/coaching"), &dir);
        let mut edits: Vec<serde_json::Value> = vec![];
        if case["rich"] == true {
            edits.extend(data["rich"].as_array().unwrap().iter().cloned());
        }
        edits.extend(case["edits"].as_array().unwrap().iter().cloned());
        let mut problems = vec![];
        for e in edits {
            let (f, from, to) = (e[0].as_str().unwrap(), e[1].as_str().unwrap(), e[2].as_str().unwrap());
            let path = dir.join(f);
            if from.is_empty() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let old = fs::read_to_string(&path).unwrap_or_default();
                fs::write(path, old + to).unwrap();
            } else {
                let t = fs::read_to_string(&path).unwrap();
                if !t.contains(from) {
                    problems.push(format!("!!!! {f} has no {from:?}"));
                }
                fs::write(path, t.replacen(from, to, 1)).unwrap();
            }
        }
        problems.extend(content::check(&dir).problems.iter().map(|p| p.to_string()));
        out.push(problems);
    }
    fs::write("/tmp/out.json", serde_json::to_string(&out).unwrap()).unwrap();
}
fn files(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for e in fs::read_dir(dir).unwrap() { let p = e.unwrap().path(); if p.is_dir() { files(&p, out) } else { out.push(p) } }
}
#[test]
fn fuzz() {
    let Ok(n) = std::env::var("FUZZ") else { return };
    let mut seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut next = |n: usize| { seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); ((seed >> 33) as usize) % n.max(1) };
    let dir = std::env::temp_dir().join(format!("michi-fuzz-{seed}", seed = std::env::var("SEED").unwrap_or_default()));
    let names = ["coaching", "shop", "webinar", "saas-trial", "b2b"];
    let bits = ["\"", "'", "[", "]", "{", "}", "=", "-", "9999999999", "(", ")", " or ", " not ", "\n", "é", "\u{10600}", "+9999d 23:59", "\\u0000", "end", "if", "%}", "{{", "0", "true", "[[steps]]\n", "#", "\u{0}", "now", "-1d 07:00", "\"\"\"", "'''"];
    for name in names {
        let _ = fs::remove_dir_all(&dir);
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels").join(name), &dir);
        let mut all = vec![]; files(&dir, &mut all);
        all.retain(|p| p.extension().is_some_and(|e| e == "toml") || p.to_string_lossy().contains("day-1.md"));
        all.sort();
        for _ in 0..n.parse::<usize>().unwrap() {
            let p = &all[next(all.len())];
            let old = fs::read_to_string(p).unwrap();
            let mut chars: Vec<char> = old.chars().collect();
            for _ in 0..1 + next(3) {
                let at = next(chars.len());
                match next(5) {
                    0 => { let len = next(8); let end = (at + len).min(chars.len()); chars.drain(at..end); }
                    1 => { for (i, c) in bits[next(bits.len())].chars().enumerate() { chars.insert(at + i, c); } }
                    2 => { // delete a line
                        let t: String = chars.iter().collect(); let mut lines: Vec<&str> = t.split('\n').collect(); let l = next(lines.len()); lines.remove(l); chars = lines.join("\n").chars().collect(); }
                    3 => { let t: String = chars.iter().collect(); let mut lines: Vec<&str> = t.split('\n').collect(); let a = next(lines.len()); let b = next(lines.len()); lines.swap(a, b); chars = lines.join("\n").chars().collect(); }
                    _ => { let t: String = chars.iter().collect(); let mut lines: Vec<&str> = t.split('\n').collect(); let a = next(lines.len()); let b = next(lines.len()); let l = lines[a]; lines.insert(b, l); chars = lines.join("\n").chars().collect(); }
                }
                if chars.is_empty() { break }
            }
            let new: String = chars.iter().collect();
            fs::write(p, &new).unwrap();
            let r = std::panic::catch_unwind(|| content::check(&dir).problems.len());
            if r.is_err() { fs::write("/tmp/panic.txt", format!("{}\n{new}", p.display())).unwrap(); panic!("{}", p.display()); }
            fs::write(p, old).unwrap();
        }
    }
}
