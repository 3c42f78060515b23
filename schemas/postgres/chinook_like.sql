-- A music shop in the manner of the well-known sample: quoted CamelCase names, a table that
-- refers to itself, a pure link table, money as numeric. All rows come from generate_series, so
-- that every build of it is the same.

CREATE TABLE "Artist" ("ArtistId" integer PRIMARY KEY, "Name" varchar(120));
CREATE TABLE "Genre" ("GenreId" integer PRIMARY KEY, "Name" varchar(120));
CREATE TABLE "MediaType" ("MediaTypeId" integer PRIMARY KEY, "Name" varchar(120));
CREATE TABLE "Playlist" ("PlaylistId" integer PRIMARY KEY, "Name" varchar(120));

CREATE TABLE "Album" (
    "AlbumId" integer PRIMARY KEY,
    "Title" varchar(160) NOT NULL,
    "ArtistId" integer NOT NULL CONSTRAINT "FK_AlbumArtistId" REFERENCES "Artist" ON UPDATE CASCADE
);
CREATE INDEX "IFK_AlbumArtistId" ON "Album" ("ArtistId");

CREATE TABLE "Employee" (
    "EmployeeId" integer PRIMARY KEY,
    "LastName" varchar(20) NOT NULL,
    "FirstName" varchar(20) NOT NULL,
    "Title" varchar(30),
    "ReportsTo" integer CONSTRAINT "FK_EmployeeReportsTo" REFERENCES "Employee",
    "BirthDate" date,
    "HireDate" timestamp,
    "Email" varchar(60) UNIQUE
);
CREATE INDEX "IFK_EmployeeReportsTo" ON "Employee" ("ReportsTo");

CREATE TABLE "Customer" (
    "CustomerId" integer PRIMARY KEY,
    "FirstName" varchar(40) NOT NULL,
    "LastName" varchar(20) NOT NULL,
    "Company" varchar(80),
    "Country" varchar(40),
    "Email" varchar(60) NOT NULL,
    "SupportRepId" integer CONSTRAINT "FK_CustomerSupportRepId" REFERENCES "Employee" ON DELETE SET NULL
);
CREATE INDEX "IFK_CustomerSupportRepId" ON "Customer" ("SupportRepId");

CREATE TABLE "Invoice" (
    "InvoiceId" integer PRIMARY KEY,
    "CustomerId" integer NOT NULL CONSTRAINT "FK_InvoiceCustomerId" REFERENCES "Customer",
    "InvoiceDate" timestamp NOT NULL,
    "BillingCountry" varchar(40),
    "Total" numeric(10,2) NOT NULL CHECK ("Total" >= 0)
);
CREATE INDEX "IFK_InvoiceCustomerId" ON "Invoice" ("CustomerId");

CREATE TABLE "Track" (
    "TrackId" integer PRIMARY KEY,
    "Name" varchar(200) NOT NULL,
    "AlbumId" integer CONSTRAINT "FK_TrackAlbumId" REFERENCES "Album",
    "MediaTypeId" integer NOT NULL CONSTRAINT "FK_TrackMediaTypeId" REFERENCES "MediaType",
    "GenreId" integer CONSTRAINT "FK_TrackGenreId" REFERENCES "Genre",
    "Composer" varchar(220),
    "Milliseconds" integer NOT NULL,
    "Bytes" integer,
    "UnitPrice" numeric(10,2) NOT NULL DEFAULT 0.99
);
CREATE INDEX "IFK_TrackAlbumId" ON "Track" ("AlbumId");
CREATE INDEX "IFK_TrackGenreId" ON "Track" ("GenreId");
CREATE INDEX "IFK_TrackMediaTypeId" ON "Track" ("MediaTypeId");

CREATE TABLE "InvoiceLine" (
    "InvoiceLineId" integer PRIMARY KEY,
    "InvoiceId" integer NOT NULL CONSTRAINT "FK_InvoiceLineInvoiceId" REFERENCES "Invoice" ON DELETE CASCADE,
    "TrackId" integer NOT NULL CONSTRAINT "FK_InvoiceLineTrackId" REFERENCES "Track",
    "UnitPrice" numeric(10,2) NOT NULL,
    "Quantity" integer NOT NULL
);
CREATE INDEX "IFK_InvoiceLineInvoiceId" ON "InvoiceLine" ("InvoiceId");
CREATE INDEX "IFK_InvoiceLineTrackId" ON "InvoiceLine" ("TrackId");

CREATE TABLE "PlaylistTrack" (
    "PlaylistId" integer NOT NULL CONSTRAINT "FK_PlaylistTrackPlaylistId" REFERENCES "Playlist",
    "TrackId" integer NOT NULL CONSTRAINT "FK_PlaylistTrackTrackId" REFERENCES "Track",
    PRIMARY KEY ("PlaylistId", "TrackId")
);
CREATE INDEX "IFK_PlaylistTrackTrackId" ON "PlaylistTrack" ("TrackId");

INSERT INTO "Artist" SELECT i, CASE WHEN i % 31 = 0 THEN NULL ELSE 'Artist ' || i || ' Ünï'  END FROM generate_series(1, 275) i;
INSERT INTO "Genre" SELECT i, 'Genre ' || i FROM generate_series(1, 25) i;
INSERT INTO "MediaType" SELECT i, 'Media ' || i FROM generate_series(1, 5) i;
INSERT INTO "Playlist" SELECT i, 'List "' || i || '"' FROM generate_series(1, 18) i;
INSERT INTO "Album" SELECT i, 'Album ' || i || repeat(' é', i % 7), 1 + i * 7 % 275 FROM generate_series(1, 347) i;
INSERT INTO "Employee"
    SELECT i, 'Last' || i, 'First' || i, CASE WHEN i = 1 THEN 'Manager' END, nullif(i / 2, 0),
           date '1960-01-01' + i * 400, timestamp '2002-05-01 08:30' + i * interval '97 days 3 hours', 'e' || i || '@shop.example'
    FROM generate_series(1, 8) i;
INSERT INTO "Customer"
    SELECT i, 'First' || i, 'O''Last' || i, CASE WHEN i % 3 = 0 THEN '' WHEN i % 3 = 1 THEN 'Company \ ' || i END,
           (ARRAY['Brazil', 'Norway', 'Côte d''Ivoire', NULL])[1 + i % 4], 'c' || i || '@mail.example', 3 + i % 3
    FROM generate_series(1, 59) i;
INSERT INTO "Invoice"
    SELECT i, 1 + i * 13 % 59, timestamp '2009-01-01' + i * interval '1 day 7 minutes', NULL, i * 37 % 2500 / 100.0
    FROM generate_series(1, 412) i;
INSERT INTO "Track"
    SELECT i, 'Track ' || i || E'\twith tab', 1 + i % 347, 1 + i % 5, 1 + i % 25,
           CASE WHEN i % 4 = 0 THEN NULL ELSE 'Composer ' || i % 90 END, i * 977 % 500000, i * 7919 % 10000000,
           CASE WHEN i % 10 = 0 THEN 1.99 ELSE 0.99 END
    FROM generate_series(1, 3503) i;
INSERT INTO "InvoiceLine" SELECT i, 1 + i % 412, 1 + i * 3 % 3503, 0.99, 1 + i % 3 FROM generate_series(1, 2240) i;
INSERT INTO "PlaylistTrack" SELECT 1 + i % 18, 1 + i / 18 * 2 FROM generate_series(0, 8714) i;
ANALYZE;
