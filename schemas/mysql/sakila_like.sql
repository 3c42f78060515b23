-- A film rental, as schemas for MySQL and MariaDB usually look: unsigned keys that count up,
-- foreign keys in a circle, enums and sets, a generated column, views, triggers and routines.
SET NAMES utf8mb4;
SET FOREIGN_KEY_CHECKS = 0;

CREATE TABLE language (
  language_id tinyint unsigned NOT NULL AUTO_INCREMENT,
  name char(20) NOT NULL,
  last_update timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (language_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='Spoken in a film';

CREATE TABLE category (
  category_id tinyint unsigned NOT NULL AUTO_INCREMENT,
  name varchar(25) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (category_id),
  UNIQUE KEY uq_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE film (
  film_id smallint unsigned NOT NULL AUTO_INCREMENT,
  title varchar(128) NOT NULL,
  description text DEFAULT NULL,
  release_year year(4) DEFAULT NULL,
  language_id tinyint unsigned NOT NULL,
  original_language_id tinyint unsigned DEFAULT NULL,
  rental_duration tinyint unsigned NOT NULL DEFAULT 3,
  rental_rate decimal(4,2) NOT NULL DEFAULT 4.99,
  length smallint unsigned DEFAULT NULL,
  replacement_cost decimal(5,2) NOT NULL DEFAULT 19.99,
  rating enum('G','PG','PG-13','R','NC-17') DEFAULT 'G',
  special_features set('Trailers','Commentaries','Deleted Scenes','Behind the Scenes') DEFAULT NULL,
  yearly_cost decimal(7,2) GENERATED ALWAYS AS (rental_rate * 12) STORED,
  last_update timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (film_id),
  KEY idx_title (title),
  KEY idx_fk_language_id (language_id),
  KEY idx_fk_original_language_id (original_language_id),
  KEY idx_description (description(20)),
  FULLTEXT KEY ft_title (title, description),
  CONSTRAINT rental_rate_positive CHECK (rental_rate >= 0),
  CONSTRAINT fk_film_language FOREIGN KEY (language_id) REFERENCES language (language_id) ON UPDATE CASCADE,
  CONSTRAINT fk_film_language_original FOREIGN KEY (original_language_id) REFERENCES language (language_id) ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE film_category (
  film_id smallint unsigned NOT NULL,
  category_id tinyint unsigned NOT NULL,
  PRIMARY KEY (film_id, category_id),
  KEY fk_film_category_category (category_id),
  CONSTRAINT fk_film_category_category FOREIGN KEY (category_id) REFERENCES category (category_id) ON UPDATE CASCADE,
  CONSTRAINT fk_film_category_film FOREIGN KEY (film_id) REFERENCES film (film_id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE store (
  store_id tinyint unsigned NOT NULL AUTO_INCREMENT,
  manager_staff_id tinyint unsigned NOT NULL,
  opened date NOT NULL,
  PRIMARY KEY (store_id),
  UNIQUE KEY idx_unique_manager (manager_staff_id),
  CONSTRAINT fk_store_staff FOREIGN KEY (manager_staff_id) REFERENCES staff (staff_id) ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE staff (
  staff_id tinyint unsigned NOT NULL AUTO_INCREMENT,
  first_name varchar(45) NOT NULL,
  last_name varchar(45) NOT NULL,
  picture blob DEFAULT NULL,
  store_id tinyint unsigned NOT NULL,
  active tinyint(1) NOT NULL DEFAULT 1,
  username varchar(16) NOT NULL,
  password varchar(40) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT NULL,
  PRIMARY KEY (staff_id),
  KEY idx_fk_store_id (store_id),
  CONSTRAINT fk_staff_store FOREIGN KEY (store_id) REFERENCES store (store_id) ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE rental (
  rental_id int NOT NULL AUTO_INCREMENT,
  rental_date datetime NOT NULL,
  film_id smallint unsigned NOT NULL,
  staff_id tinyint unsigned NOT NULL,
  return_date datetime DEFAULT NULL,
  note varchar(200) DEFAULT NULL,
  PRIMARY KEY (rental_id),
  UNIQUE KEY rental_date (rental_date, film_id, staff_id),
  KEY idx_fk_film_id (film_id),
  KEY idx_fk_staff_id (staff_id),
  CONSTRAINT fk_rental_film FOREIGN KEY (film_id) REFERENCES film (film_id) ON UPDATE CASCADE,
  CONSTRAINT fk_rental_staff FOREIGN KEY (staff_id) REFERENCES staff (staff_id) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=16050 DEFAULT CHARSET=utf8mb4;

CREATE TABLE payment (
  payment_id int unsigned NOT NULL AUTO_INCREMENT,
  rental_id int DEFAULT NULL,
  amount decimal(5,2) NOT NULL,
  paid_at datetime(6) NOT NULL,
  details longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(details)),
  PRIMARY KEY (payment_id),
  KEY fk_payment_rental (rental_id),
  CONSTRAINT fk_payment_rental FOREIGN KEY (rental_id) REFERENCES rental (rental_id) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

SET FOREIGN_KEY_CHECKS = 1;

INSERT INTO language (language_id, name) VALUES (1, 'English'), (2, 'Italian'), (3, '日本語');
INSERT INTO category (name) VALUES ('Action'), ('Comedy'), ('action');
INSERT INTO film (title, description, release_year, language_id, original_language_id, length, rating, special_features)
VALUES ('ACADEMY DINOSAUR', 'A epic drama', 2006, 1, NULL, 86, 'PG', 'Deleted Scenes,Behind the Scenes'),
       ('ACE GOLDFINGER', 'It''s a \\ tale\nof two lines', 1999, 1, 3, 48, 'G', 'Trailers'),
       ('AMÉLIE 🎬', NULL, NULL, 2, NULL, NULL, NULL, '');
INSERT INTO film_category VALUES (1, 1), (1, 2), (2, 3);
SET FOREIGN_KEY_CHECKS = 0;
INSERT INTO staff (first_name, last_name, picture, store_id, active, username, password)
VALUES ('Mike', 'Hillyer', x'89504e470d0a1a0a00ff', 1, 1, 'Mike', '8cb2237d'), ('Jon', 'Stephens', NULL, 2, 0, 'Jon', NULL);
INSERT INTO store (manager_staff_id, opened) VALUES (1, '2001-02-28'), (2, '2004-02-29');
SET FOREIGN_KEY_CHECKS = 1;
INSERT INTO rental (rental_id, rental_date, film_id, staff_id, return_date)
VALUES (1, '2005-05-24 22:53:30', 1, 1, '2005-05-26 22:04:30'), (2, '2005-05-24 22:54:33', 2, 2, NULL);
INSERT INTO payment (rental_id, amount, paid_at, details)
VALUES (1, 2.99, '2005-05-25 11:30:37.000001', '{"card": "x", "card": "y"}'), (NULL, 0.00, '2005-06-15 00:54:12', NULL);

CREATE VIEW film_list AS SELECT film.film_id, film.title, category.name AS category FROM film
  JOIN film_category USING (film_id) JOIN category USING (category_id);
CREATE TRIGGER upd_film BEFORE UPDATE ON film FOR EACH ROW SET NEW.title = upper(NEW.title);
CREATE PROCEDURE films_in_stock() SELECT count(*) FROM film;
CREATE FUNCTION film_count() RETURNS int READS SQL DATA RETURN (SELECT count(*) FROM film);
CREATE EVENT tidy_up ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM rental WHERE rental_date < '1990-01-01';
