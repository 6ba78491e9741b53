//! The tables, and how they came to be. Each belongs to one service, by its name, and no service reads another's.
//!
//! The steps are written for SQLite; PostgreSQL takes the same ones with its own names of the types. A database
//! remembers how many it has had; only ever append.

pub(super) const STEPS: [&str; 2] = [
    "
    CREATE TABLE orders (
        id       INTEGER PRIMARY KEY,
        item     TEXT    NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity > 0),
        packed   INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX to_pack ON orders (id) WHERE packed = 0;
    ",
    // Orders get a state, and services of their own for stock and payment. What was taken before that is packed as
    // promised: its stock and its payment were nobody's business.
    "
    DROP INDEX to_pack;
    ALTER TABLE orders ADD COLUMN state       TEXT NOT NULL DEFAULT 'paid';
    ALTER TABLE orders ADD COLUMN client_key  TEXT;
    ALTER TABLE orders ADD COLUMN reason      TEXT;
    ALTER TABLE orders ADD COLUMN amount      INTEGER;
    ALTER TABLE orders ADD COLUMN placed_at   INTEGER;
    ALTER TABLE orders ADD COLUMN reserved_at INTEGER;
    ALTER TABLE orders ADD COLUMN paid_at     INTEGER;
    ALTER TABLE orders ADD COLUMN packed_at   INTEGER;
    ALTER TABLE orders ADD COLUMN rejected_at INTEGER;
    ALTER TABLE orders ADD COLUMN released_at INTEGER;
    UPDATE orders SET state = 'packed' WHERE packed <> 0;
    ALTER TABLE orders DROP COLUMN packed;
    CREATE INDEX orders_to_pack ON orders (id) WHERE state = 'paid';
    CREATE UNIQUE INDEX orders_client_key ON orders (client_key) WHERE client_key IS NOT NULL;
    CREATE TABLE orders_outbox (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        order_id INTEGER NOT NULL,
        body     TEXT    NOT NULL
    ) STRICT;

    CREATE TABLE inventory_stock (
        item     TEXT    PRIMARY KEY NOT NULL,
        price    INTEGER NOT NULL CHECK (price >= 0),
        received INTEGER NOT NULL CHECK (received >= on_hand),
        on_hand  INTEGER NOT NULL CHECK (on_hand >= 0)
    ) STRICT;
    INSERT INTO inventory_stock (item, price, received, on_hand) VALUES
        ('tea', 350, 100000, 100000), ('scone', 220, 100000, 100000), ('jam', 410, 100000, 100000),
        ('honey', 690, 100000, 100000), ('samovar', 24900, 20, 20);
    CREATE TABLE inventory_reservations (
        order_id INTEGER PRIMARY KEY,
        item     TEXT    NOT NULL,
        quantity INTEGER NOT NULL,
        state    TEXT    NOT NULL
    ) STRICT;
    CREATE TABLE inventory_outbox (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        order_id INTEGER NOT NULL,
        body     TEXT    NOT NULL
    ) STRICT;

    CREATE TABLE payment_charges (
        order_id INTEGER PRIMARY KEY,
        amount   INTEGER NOT NULL,
        declined TEXT,
        at       INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE payment_outbox (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        order_id INTEGER NOT NULL,
        body     TEXT    NOT NULL
    ) STRICT;

    CREATE TABLE provider_book (
        request  TEXT    PRIMARY KEY NOT NULL,
        order_id INTEGER NOT NULL,
        amount   INTEGER NOT NULL,
        declined TEXT
    ) STRICT;
    ",
];
