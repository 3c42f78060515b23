-- A shop, made up: the example database of `towpath demo`. Every value follows from a row's
-- number, so that two runs make equal files. Rows are made by recursive queries; the tables have
-- the oddities that real ones have: a cycle of foreign keys, a table without any key, names with
-- blanks, quotes and reserved words, mixed classes of values, generated columns, partial and
-- expression indexes, views and triggers.

create table countries (
  code text primary key,
  name text not null,
  currency text not null,
  vat_percent decimal(4,1) not null default 20.0
) without rowid;

create table "currencies" (
  code text primary key not null check (length(code) = 3),
  symbol text not null,
  minor_units integer not null default 2
) strict, without rowid;

create table departments (
  id integer primary key,
  name text not null unique,
  manager_id integer references employees (id) on delete set null
);

create table employees (
  id integer primary key,
  department_id integer not null references departments (id),
  boss_id integer references employees (id),
  "full name" text not null,
  hired_on date not null,
  salary decimal(10,2) check (salary >= 0),
  "select" boolean not null default 0
);

create table customers (
  id integer primary key autoincrement,
  email varchar(190) not null collate nocase,
  full_name text not null,
  country text not null references countries (code),
  created_at datetime not null default current_timestamp,
  newsletter boolean not null default 0,
  legacy_flags integer,
  preferences json,
  uuid text not null
);

create table addresses (
  id integer primary key,
  customer_id integer not null references customers (id) on delete cascade,
  kind text not null check (kind in ('billing', 'shipping')),
  street text not null,
  city text not null,
  "post code" text,
  lines integer generated always as (1 + (street like '% %')) virtual
);

create table suppliers (
  id integer primary key,
  name text not null,
  country text references countries (code),
  rating real
);

create table categories (
  id integer primary key,
  parent_id integer references categories (id) deferrable initially deferred,
  slug text not null unique,
  title text not null
);

create table products (
  id integer primary key,
  sku char(12) not null unique,
  category_id integer not null references categories (id),
  title text not null,
  description text,
  price decimal(10,2) not null check (price > 0),
  weight_grams integer,
  available boolean not null default 1,
  attributes json,
  price_with_vat numeric generated always as (round(price * 1.2, 2)) stored
);

create table product_images (
  product_id integer not null references products (id),
  position integer not null,
  mime_type text not null,
  content blob not null,
  primary key (product_id, position)
);

create table product_suppliers (
  product_id integer not null references products (id),
  supplier_id integer not null references suppliers (id),
  cost decimal(10,2) not null,
  lead_days integer,
  primary key (product_id, supplier_id)
) without rowid;

create table price_history (
  product_id integer not null references products (id),
  valid_from date not null,
  price decimal(10,2) not null,
  primary key (product_id, valid_from)
);

create table warehouses (
  id integer primary key,
  name text not null,
  location text
);

create table stock (
  warehouse_id integer not null references warehouses (id),
  product_id integer not null references products (id),
  quantity integer not null default 0,
  counted_at datetime,
  primary key (warehouse_id, product_id)
) without rowid;

create table coupons (
  code text primary key not null,
  percent integer not null check (percent between 1 and 90),
  valid_until date
);

create table "order" (
  id integer primary key autoincrement,
  customer_id integer not null references customers (id),
  shipping_address_id integer references addresses (id),
  coupon text references coupons (code) on update cascade,
  status text not null default 'open',
  placed_at datetime not null,
  total decimal(12,2) not null default 0,
  note text
);

create table order_items (
  order_id integer not null references "order" (id) on delete cascade,
  line integer not null,
  product_id integer not null references products (id),
  quantity integer not null default 1 check (quantity > 0),
  unit_price decimal(10,2) not null,
  primary key (order_id, line)
);

create table payments (
  id integer primary key,
  order_id integer not null references "order" (id),
  method text not null,
  amount decimal(12,2) not null,
  paid_at datetime,
  reference text unique
);

create table shipments (
  id integer primary key,
  order_id integer not null references "order" (id),
  warehouse_id integer not null references warehouses (id),
  shipped_at datetime,
  tracking text
);

create table returns (
  order_id integer not null,
  line integer not null,
  reason text not null,
  returned_on date not null,
  primary key (order_id, line),
  foreign key (order_id, line) references order_items (order_id, line)
);

create table reviews (
  product_id integer not null references products (id),
  customer_id integer not null references customers (id),
  stars integer not null check (stars between 1 and 5),
  body text,
  written_at datetime not null,
  primary key (product_id, customer_id)
);

create table "page views" (
  id integer primary key,
  customer_id integer references customers (id),
  "path?" text not null,
  seen_at real not null,
  millis integer
);

create table audit_log (
  at datetime not null,
  who text,
  "what ""changed""" text
);

create table settings (
  key text primary key not null,
  value any
) strict;

create table tmp_import (
  raw text
);

insert into countries (code, name, currency, vat_percent) values
  ('DE', 'Deutschland', 'EUR', 19.0), ('FR', 'France', 'EUR', 20.0), ('GB', 'United Kingdom', 'GBP', 20.0),
  ('JP', '日本', 'JPY', 10.0), ('SE', 'Sverige', 'SEK', 25.0), ('US', 'United States', 'USD', 0),
  ('CH', 'Schweiz/Suisse/Svizzera', 'CHF', 8.1), ('ZA', 'Suid-Afrika', 'ZAR', 15.0);

insert into currencies values
  ('EUR', '€', 2), ('GBP', '£', 2), ('JPY', '¥', 0), ('SEK', 'kr', 2), ('USD', '$', 2), ('CHF', 'Fr.', 2),
  ('ZAR', 'R', 2);

insert into departments (id, name, manager_id) values
  (1, 'Sales', 3), (2, 'Warehouse', 7), (3, 'Accounts', 11), (4, 'People & Culture', null);

with recursive n(i) as (select 1 union all select i + 1 from n where i < 60)
insert into employees
select i, 1 + i % 4, case when i > 4 then 1 + i % 4 end, 'Employee ' || i || case i % 9 when 0 then ' O''Neill' else '' end,
  date('2012-01-01', (i * 37 % 4000) || ' days'), 30000 + i * 731 % 50000 + 0.5, i % 7 = 0
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 8000)
insert into customers
select i, 'user' || i || '@' || case i % 3 when 0 then 'example.org' when 1 then 'Example.com' else 'münchen.example' end,
  case i % 6 when 0 then 'Zoë Ångström ' when 1 then '山田 ' when 2 then 'Tab	and "quote" ' else 'Customer ' end || i,
  case i % 8 when 0 then 'DE' when 1 then 'FR' when 2 then 'GB' when 3 then 'JP' when 4 then 'SE' when 5 then 'US'
    when 6 then 'CH' else 'ZA' end,
  datetime('2019-03-01', (i * 7919 % 2000) || ' days', (i * 613 % 86400) || ' seconds'),
  i % 3 = 0, case when i % 5 = 0 then i % 64 end,
  case when i % 4 = 0 then '{"theme":"dark","sizes":[' || i % 40 || ',null],"ü":"\u00e9"}' end,
  printf('%08x-%04x-4%03x-a%03x-%012x', i * 2654435761 % 4294967296, i % 65536, i * 31 % 4096, i * 17 % 4096, i * 99991)
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 12000)
insert into addresses (id, customer_id, kind, street, city, "post code")
select i, 1 + i % 8000, case i % 2 when 0 then 'billing' else 'shipping' end,
  case i % 5 when 0 then 'Einbahnstraße' else 'Long Lane ' || i % 300 end,
  case i % 4 when 0 then 'Genève' when 1 then 'Köln' when 2 then 'Kyōto' else 'Leeds' end,
  case when i % 11 > 0 then printf('%05d', i * 37 % 100000) end
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 120)
insert into suppliers
select i, 'Supplier "' || i || '"', case i % 3 when 0 then 'DE' when 1 then 'JP' end, i * 37 % 500 / 100.0 from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 90)
insert into categories
select i, case when i > 8 then 1 + i % 8 end, 'category-' || i, 'Category ' || i from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 2500)
insert into products (id, sku, category_id, title, description, price, weight_grams, available, attributes)
select i, printf('SKU-%08d', i * 7), 1 + i % 90, 'Product ' || i || case i % 10 when 0 then ' 🚲' else '' end,
  case i % 4 when 0 then null when 1 then '' else 'First line' || char(10) || 'second line of ' || i end,
  1 + i * 7919 % 90000 / 100.0, case when i % 6 > 0 then i * 13 % 5000 end, i % 17 > 0,
  case when i % 2 = 0 then json_object('colour', case i % 3 when 0 then 'red' else 'blue' end, 'size', i % 50) end
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 1500)
insert into product_images
select i, 1, 'image/png', cast(x'89504e470d0a1a0a00ff' || zeroblob(i % 700) as blob) from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
insert into product_suppliers
select 1 + i % 2500, 1 + (i * 7 + i / 2500) % 120, 1 + i * 31 % 40000 / 100.0, case when i % 5 > 0 then i % 30 end from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 7500)
insert into price_history
select 1 + i % 2500, date('2022-01-01', (i / 2500 * 180) || ' days'), 1 + i * 7919 % 80000 / 100.0 from n;

insert into warehouses values (1, 'North', '53.55,9.99'), (2, 'South', null), (3, 'Über See', '35.68,139.69');

with recursive n(i) as (select 1 union all select i + 1 from n where i < 7500)
insert into stock
select 1 + i % 3, 1 + i / 3 % 2500, i * 37 % 900, case when i % 3 = 0 then datetime('2026-06-01', (i % 90) || ' days') end
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 40)
insert into coupons select 'SAVE-' || i, 1 + i * 7 % 90, case when i % 3 > 0 then date('2027-01-01', i || ' days') end from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
insert into "order"
select i, 1 + i * 31 % 8000, 1 + i * 31 % 8000, case when i % 12 = 0 then 'SAVE-' || (1 + i % 40) end,
  case i % 7 when 0 then 'open' when 1 then 'cancelled' else 'sent' end,
  datetime('2024-01-01', (i / 40) || ' days', (i * 613 % 86400) || ' seconds'),
  1 + i * 7919 % 500000 / 100.0, case when i % 50 = 0 then 'please ring twice; thanks -- ' || i end
from n;

with recursive n(i) as (select 0 union all select i + 1 from n where i < 89999)
insert into order_items
select 1 + i / 3, 1 + i % 3, 1 + i * 17 % 2500, 1 + i % 5, 1 + i * 7919 % 90000 / 100.0 from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
insert into payments
select i, i, case i % 3 when 0 then 'card' when 1 then 'invoice' else 'bank' end, 1 + i * 7919 % 500000 / 100.0,
  case when i % 9 > 0 then datetime('2024-01-02', (i / 40) || ' days') end,
  case when i % 4 > 0 then printf('REF%09d', i * 3) end
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 21000)
insert into shipments
select i, i, 1 + i % 3, case when i % 13 > 0 then datetime('2024-01-03', (i / 40) || ' days') end,
  case when i % 2 = 0 then printf('TRK%010d', i * 97) end
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200)
insert into returns
select i * 20, 1 + i % 3, case i % 4 when 0 then 'too small' when 1 then 'broken' when 2 then 'late' else 'other' end,
  date('2024-02-01', (i % 700) || ' days')
from n;

with recursive n(i) as (select 0 union all select i + 1 from n where i < 14999)
insert into reviews
select 1 + i % 2500, 1 + i / 2500 + i % 1000 * 7, 1 + i % 5,
  case i % 6 when 0 then null when 1 then '😀 great' else 'Review ' || i end,
  datetime('2025-01-01', (i % 600) || ' days')
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into "page views"
select i, case when i % 3 > 0 then 1 + i * 31 % 8000 end, '/p/' || (1 + i * 17 % 2500) || case i % 5 when 0 then '?ref=mail&x=%20' else '' end,
  2460000.5 + i / 100.0, i * 37 % 4000
from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
insert into audit_log
select datetime('2026-01-01', i || ' minutes'), case when i % 4 > 0 then 'Employee ' || (1 + i % 60) end,
  'row ' || (i / 2) || ' of ' || case i % 3 when 0 then 'order' else 'stock' end
from n;

insert into settings values
  ('shop.name', 'Tow & Path'), ('shop.open', 1), ('tax.factor', 1.2), ('logo', x'0001feff'), ('motd', null),
  ('application.writes', 0), ('limits.max', 9223372036854775807), ('greeting', 'Grüezi' || char(10) || 'miteinander');

insert into tmp_import values ('left over'), ('from'), ('an import');

create unique index customers_email on customers (email);
create index customers_name_lower on customers (lower(full_name));
create index addresses_customer on addresses (customer_id);
create index products_category on products (category_id, price desc);
create index products_available on products (title) where available;
create index order_customer on "order" (customer_id, placed_at);
create index order_open on "order" (placed_at) where status = 'open';
create index order_items_product on order_items (product_id);
create index payments_order on payments (order_id);
create index shipments_order on shipments (order_id);
create index reviews_customer on reviews (customer_id);
create index "page views by path" on "page views" ("path?");
create index page_views_customer on "page views" (customer_id, seen_at);

create view open_orders as select * from "order" where status = 'open';
create view stock_value as
  select product_id, sum(quantity * price) as value from stock join products on products.id = product_id group by 1;
create trigger order_audit after update of status on "order" begin
  insert into audit_log values (current_timestamp, null, 'status of order ' || new.id);
end;
