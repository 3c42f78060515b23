-- What the application of `towpath demo` does, transaction by transaction: each part between two
-- lines of dashes is one, and they come round in their order. `:n` is the transaction's number.
--
-- Each keeps what can be counted afterwards:
--   the sum of all payments is the sum of all orders,
--   the pieces in all warehouses together stay as many,
--   `application.writes` in settings is the number of transactions that were committed.

-- An order with two lines, paid at once; a piece moves to another warehouse.
insert into "order" (customer_id, shipping_address_id, status, placed_at, total, note)
  values (1 + :n * 31 % 8000, 1 + :n * 31 % 8000, 'open', current_timestamp, 20 + :n % 80, 'placed while moving');
insert into order_items select max(id), 1, 1 + :n * 17 % 2500, 1, 15 from "order";
insert into order_items select max(id), 2, 1 + :n * 23 % 2500, 1, 5 + :n % 80 from "order";
insert into payments (order_id, method, amount, paid_at, reference)
  select max(id), 'card', 20 + :n % 80, current_timestamp, 'NOW' || :n from "order";
update stock set quantity = quantity - 1 where warehouse_id = 1 and product_id = 1 + :n * 17 % 2500;
update stock set quantity = quantity + 1 where warehouse_id = 2 and product_id = 1 + :n * 17 % 2500;
update settings set value = value + 1 where key = 'application.writes';
--------
-- The newest order is sent. A trigger of the shop writes a line into audit_log.
update "order" set status = 'sent' where id = (select max(id) from "order" where status = 'open');
insert into "page views" (customer_id, "path?", seen_at, millis)
  values (1 + :n % 8000, '/p/' || (1 + :n % 2500), julianday('now'), :n % 4000);
update settings set value = value + 1 where key = 'application.writes';
--------
-- An order becomes dearer, and so does its payment.
update payments set amount = amount + 5 where id = (select max(id) from payments);
update "order" set total = total + 5 where id = (select order_id from payments order by id desc limit 1);
update settings set value = value + 1 where key = 'application.writes';
--------
-- Another order, paid by two payments.
insert into "order" (customer_id, coupon, status, placed_at, total)
  values (1 + :n * 37 % 8000, (select min(code) from coupons), 'open', current_timestamp, 70.5);
insert into payments (order_id, method, amount) select max(id), 'bank', 50 from "order";
insert into payments (order_id, method, amount) select max(id), 'invoice', 20.5 from "order";
update settings set value = value + 1 where key = 'application.writes';
--------
-- It is cancelled: its number is never given again. Lines of an order go with it by a foreign key.
delete from payments where order_id = (select max(id) from "order");
delete from "order" where id = (select max(id) from "order");
update settings set value = value + 1 where key = 'application.writes';
--------
-- A key changes, and with it the orders that name it.
update coupons set code = case when code like '%!' then rtrim(code, '!') else code || '!' end
  where code = (select code from coupons order by code limit 1 offset :n % 40);
update settings set value = value + 1 where key = 'application.writes';
--------
-- Two customers exchange their addresses, which are unique.
update customers set email = email || '|' || (select email from customers where id = 4001 + :n % 4000)
  where id = 1 + :n % 4000;
update customers set email = (select substr(email, 1, instr(email, '|') - 1) from customers where id = 1 + :n % 4000)
  where id = 4001 + :n % 4000;
update customers set email = substr(email, instr(email, '|') + 1) where id = 1 + :n % 4000;
update settings set value = value + 1 where key = 'application.writes';
--------
-- A customer comes, the one before goes; rows are replaced; old page views are forgotten.
insert into customers (email, full_name, country, uuid)
  values ('new' || :n || '@moving.example', 'New ' || :n, 'CH', hex(randomblob(16)));
delete from customers where id = (select max(id) from customers where id > 8000 and email not like 'new' || :n || '@%');
insert or replace into reviews values (1 + :n % 2500, 1 + :n % 100, 5, 'review ' || :n, current_timestamp);
insert or replace into settings values ('motd', 'transaction ' || :n);
delete from "page views" where id between :n % 1500 and :n % 1500 + 2;
update settings set value = value + 1 where key = 'application.writes';
