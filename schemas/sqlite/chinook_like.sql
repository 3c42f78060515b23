-- The music shop of schemas/postgres/chinook_like.sql, as an application on SQLite declares it.
BEGIN;
CREATE TABLE "Artist" ("ArtistId" INTEGER NOT NULL PRIMARY KEY, "Name" NVARCHAR(120));
CREATE TABLE "Genre" ("GenreId" INTEGER NOT NULL PRIMARY KEY, "Name" NVARCHAR(120));
CREATE TABLE "MediaType" ("MediaTypeId" INTEGER NOT NULL PRIMARY KEY, "Name" NVARCHAR(120));
CREATE TABLE "Playlist" ("PlaylistId" INTEGER NOT NULL PRIMARY KEY, "Name" NVARCHAR(120));
CREATE TABLE "Album" (
    "AlbumId" INTEGER NOT NULL,
    "Title" NVARCHAR(160) NOT NULL,
    "ArtistId" INTEGER NOT NULL,
    CONSTRAINT "PK_Album" PRIMARY KEY ("AlbumId"),
    FOREIGN KEY ("ArtistId") REFERENCES "Artist" ("ArtistId") ON DELETE NO ACTION ON UPDATE CASCADE
);
CREATE INDEX "IFK_AlbumArtistId" ON "Album" ("ArtistId");
CREATE TABLE "Employee" (
    "EmployeeId" INTEGER NOT NULL PRIMARY KEY,
    "LastName" NVARCHAR(20) NOT NULL,
    "FirstName" NVARCHAR(20) NOT NULL,
    "Title" NVARCHAR(30),
    "ReportsTo" INTEGER REFERENCES "Employee" ("EmployeeId"),
    "BirthDate" DATE,
    "HireDate" DATETIME,
    "Email" NVARCHAR(60) UNIQUE
);
CREATE TABLE "Customer" (
    "CustomerId" INTEGER NOT NULL PRIMARY KEY,
    "FirstName" NVARCHAR(40) NOT NULL,
    "LastName" NVARCHAR(20) NOT NULL,
    "Company" NVARCHAR(80),
    "Country" NVARCHAR(40),
    "Email" NVARCHAR(60) NOT NULL,
    "SupportRepId" INTEGER REFERENCES "Employee" ON DELETE SET NULL
);
CREATE TABLE "Invoice" (
    "InvoiceId" INTEGER NOT NULL PRIMARY KEY,
    "CustomerId" INTEGER NOT NULL REFERENCES "Customer" ("CustomerId"),
    "InvoiceDate" DATETIME NOT NULL,
    "BillingCountry" NVARCHAR(40),
    "Total" NUMERIC(10,2) NOT NULL CHECK ("Total" >= 0)
);
CREATE INDEX "IFK_InvoiceCustomerId" ON "Invoice" ("CustomerId");
CREATE TABLE "Track" (
    "TrackId" INTEGER NOT NULL PRIMARY KEY,
    "Name" NVARCHAR(200) NOT NULL,
    "AlbumId" INTEGER REFERENCES "Album",
    "MediaTypeId" INTEGER NOT NULL REFERENCES "MediaType",
    "GenreId" INTEGER REFERENCES "Genre",
    "Composer" NVARCHAR(220),
    "Milliseconds" INTEGER NOT NULL,
    "Bytes" INTEGER,
    "UnitPrice" NUMERIC(10,2) NOT NULL DEFAULT 0.99
);
CREATE INDEX "IFK_TrackAlbumId" ON "Track" ("AlbumId");
CREATE INDEX "track_by_length" ON "Track" ("Milliseconds" DESC, "Name");
CREATE TABLE "InvoiceLine" (
    "InvoiceLineId" INTEGER NOT NULL PRIMARY KEY,
    "InvoiceId" INTEGER NOT NULL REFERENCES "Invoice" ON DELETE CASCADE,
    "TrackId" INTEGER NOT NULL REFERENCES "Track",
    "UnitPrice" NUMERIC(10,2) NOT NULL,
    "Quantity" INTEGER NOT NULL
);
CREATE INDEX "IFK_InvoiceLineInvoiceId" ON "InvoiceLine" ("InvoiceId");
CREATE TABLE "PlaylistTrack" (
    "PlaylistId" INTEGER NOT NULL REFERENCES "Playlist",
    "TrackId" INTEGER NOT NULL REFERENCES "Track",
    CONSTRAINT "PK_PlaylistTrack" PRIMARY KEY ("PlaylistId", "TrackId")
);

CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) SELECT i FROM n;
INSERT INTO "Artist" SELECT i, CASE WHEN i % 31 = 0 THEN NULL ELSE 'Artist ' || i || ' Ünï' END FROM n WHERE i <= 275;
INSERT INTO "Genre" SELECT i, 'Genre ' || i FROM n WHERE i <= 25;
INSERT INTO "MediaType" SELECT i, 'Media ' || i FROM n WHERE i <= 5;
INSERT INTO "Playlist" SELECT i, 'List "' || i || '"' FROM n WHERE i <= 18;
INSERT INTO "Album" SELECT i, 'Album ' || i || substr(' é é é é é é', 1, i % 7 * 2), 1 + i * 7 % 275 FROM n WHERE i <= 347;
INSERT INTO "Employee" SELECT i, 'Last' || i, 'First' || i, CASE WHEN i = 1 THEN 'Manager' END, nullif(i / 2, 0),
    date('1960-01-01', (i * 400) || ' days'), datetime('2002-05-01 08:30:00', (i * 97) || ' days'), 'e' || i || '@shop.example' FROM n WHERE i <= 8;
INSERT INTO "Customer" SELECT i, 'First' || i, 'O''Last' || i, CASE WHEN i % 3 = 0 THEN '' WHEN i % 3 = 1 THEN 'Company \ ' || i END,
    CASE i % 4 WHEN 0 THEN 'Brazil' WHEN 1 THEN 'Norway' WHEN 2 THEN 'Côte d''Ivoire' END, 'c' || i || '@mail.example', 3 + i % 3 FROM n WHERE i <= 59;
INSERT INTO "Invoice" SELECT i, 1 + i * 13 % 59, datetime('2009-01-01', i || ' days', (i * 7) || ' minutes'), NULL, i * 37 % 2500 / 100.0 FROM n WHERE i <= 412;
INSERT INTO "Track" SELECT i, 'Track ' || i || char(9) || 'with tab', 1 + i % 347, 1 + i % 5, 1 + i % 25,
    CASE WHEN i % 4 = 0 THEN NULL ELSE 'Composer ' || (i % 90) END, i * 977 % 500000, i * 7919 % 10000000, CASE WHEN i % 10 = 0 THEN 1.99 ELSE 0.99 END FROM n WHERE i <= 3503;
INSERT INTO "InvoiceLine" SELECT i, 1 + i % 412, 1 + i * 3 % 3503, 0.99, 1 + i % 3 FROM n WHERE i <= 2240;
INSERT INTO "PlaylistTrack" SELECT 1 + i % 18, 1 + i / 18 * 2 FROM (SELECT i - 1 AS i FROM n) WHERE i <= 8714;
DROP TABLE n;
COMMIT;
ANALYZE;
