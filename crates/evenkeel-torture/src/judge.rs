//! Compares what came out with what has to come out.

use std::time::Duration;

use evenkeel::Receipt;

use crate::{
    ordeal::Finding,
    table::{Bar, Scenario},
};

/// Everything that is wrong, in words; `limit` is how soon the process has to be gone.
#[must_use]
pub fn judge(scenario: &Scenario, finding: &Finding, limit: Duration) -> Vec<String> {
    let mut wrong = finding.commands.clone();
    if finding.end != scenario.end {
        wrong.push(format!("ended with {:?} instead of {:?}", finding.end, scenario.end));
    }
    if finding.took > limit {
        wrong.push(format!("gone after {:?}, later than {limit:?}", finding.took));
    }
    match &finding.receipt {
        Ok(receipt) => {
            wrong.extend(judge_receipt(scenario, receipt));
            // After the second signal one place may be written once more and the other not.
            wrong.extend(finding.places.clone().err().filter(|_| scenario.receipt && scenario.bar == Bar::Budget));
        }
        Err(why) if scenario.receipt => wrong.push(why.clone()),
        Err(_) => {}
    }
    wrong
}

fn judge_receipt(scenario: &Scenario, receipt: &Receipt) -> Vec<String> {
    let mut wrong = Vec::new();
    if scenario.receipt && receipt.culprits != scenario.culprits {
        wrong.push(format!("culprits are {:?} instead of {:?}", receipt.culprits, scenario.culprits));
    }
    for chain in &scenario.order {
        wrong.extend(judge_order(receipt, chain));
    }
    let json = receipt.to_json();
    for text in scenario.says.iter().filter(|text| !json.contains(**text)) {
        wrong.push(format!("the receipt does not say `{text}`"));
    }
    wrong
}

fn judge_order(receipt: &Receipt, chain: &[&str]) -> Option<String> {
    let ends: Vec<Option<f64>> = chain
        .iter()
        .map(|name| receipt.components.iter().find(|row| row.name == *name).and_then(|row| row.end_ms))
        .collect();
    let in_order = ends.windows(2).all(|pair| matches!(pair, [Some(a), Some(b)] if a <= b));
    (!in_order).then(|| format!("{chain:?} did not end in this order: {ends:?}"))
}
