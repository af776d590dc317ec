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
