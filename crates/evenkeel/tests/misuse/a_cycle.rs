//! Two components that need each other.
use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let orders = app.worker("orders", &payment, async |_payment, _stop| Ok(()));
    let payment = app.worker("payment", &orders, async |_orders, _stop| Ok(()));
}
