-- The same rows everywhere: whatever looks drawn by lot is a hash of the row's number.
-- 40 categories, 500 suppliers, 20,000 products, 5,000 buyers, 3,000 inquiries, and 60,000 orders from 1 July 2024
-- to 30 June 2026.

-- A number from 0 up to 1 for row n; each salt is a draw of its own.
CREATE FUNCTION pg_temp.draw(n bigint, salt bigint) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    RETURN (hashint8extended(n, salt) & 4294967295)::double precision / 4294967296;

-- A whole number from 0 up to size for row n; the higher the skew, the more of them are low.
CREATE FUNCTION pg_temp.below(n bigint, salt bigint, size bigint, skew double precision DEFAULT 1) RETURNS integer
    LANGUAGE sql IMMUTABLE
    RETURN floor(size * power(pg_temp.draw(n, salt), skew))::integer;

-- One of several words for row n.
CREATE FUNCTION pg_temp.pick(n bigint, salt bigint, words text[]) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN words[1 + pg_temp.below(n, salt, cardinality(words))];

CREATE TEMPORARY TABLE ranges (id, family, slug, name, nouns, low, high, unit) ON COMMIT DROP AS VALUES
    (1, 'metal', 'bolts-screws', 'Bolts and screws', '{Hex bolt,Socket cap screw,Carriage bolt,Set screw}'::text[], 0.04, 3.50, 'piece'),
    (2, 'metal', 'nuts-washers', 'Nuts and washers', '{Lock nut,Flange nut,Flat washer,Spring washer}', 0.01, 0.90, 'piece'),
    (3, 'metal', 'anchors-rivets', 'Anchors and rivets', '{Wedge anchor,Blind rivet,Chemical anchor,Rivet nut}', 0.05, 4.80, 'piece'),
    (4, 'metal', 'ball-bearings', 'Ball bearings', '{Deep-groove ball bearing,Angular contact bearing,Thrust ball bearing}', 1.80, 85, 'piece'),
    (5, 'metal', 'roller-bearings', 'Roller bearings', '{Tapered roller bearing,Needle bearing,Cylindrical roller bearing}', 3.40, 240, 'piece'),
    (6, 'metal', 'gears', 'Gears and racks', '{Spur gear,Bevel gear,Gear rack,Worm wheel}', 6.50, 310, 'piece'),
    (7, 'metal', 'belts-chains', 'Belts and chains', '{Timing belt,V-belt,Roller chain,Chain sprocket}', 4.20, 160, 'piece'),
    (8, 'metal', 'linear-motion', 'Linear motion', '{Linear guide rail,Ball screw,Linear bearing,Guide carriage}', 12, 540, 'piece'),
    (9, 'device', 'electric-motors', 'Electric motors', '{Three-phase motor,Servo motor,Stepper motor,Gear motor}', 48, 2900, 'piece'),
    (10, 'device', 'drives', 'Drives and inverters', '{Frequency inverter,Servo drive,Soft starter}', 95, 3400, 'piece'),
    (11, 'device', 'sensors', 'Sensors', '{Inductive sensor,Photoelectric sensor,Pressure sensor,Temperature probe}', 9.80, 420, 'piece'),
    (12, 'device', 'plc-control', 'Control systems', '{PLC module,Operator panel,Safety relay,I/O terminal}', 35, 1900, 'piece'),
    (13, 'device', 'switches', 'Switches and buttons', '{Limit switch,Emergency stop button,Rotary switch,Foot switch}', 3.90, 140, 'piece'),
    (14, 'device', 'cables', 'Cables', '{Control cable,Servo cable,Ethernet cable,Power cable}', 0.45, 28, 'metre'),
    (15, 'device', 'connectors', 'Connectors', '{M12 connector,Terminal block,Cable gland,DIN connector}', 0.35, 46, 'piece'),
    (16, 'device', 'enclosures', 'Enclosures', '{Wall enclosure,Control cabinet,Junction box}', 8.50, 1250, 'piece'),
    (17, 'device', 'lighting', 'Industrial lighting', '{LED high bay,Machine lamp,Explosion-proof luminaire,Light tower}', 14, 480, 'piece'),
    (18, 'device', 'pneumatic-cylinders', 'Pneumatic cylinders', '{Compact cylinder,Round cylinder,Rotary actuator,Gripper}', 19, 620, 'piece'),
    (19, 'device', 'pneumatic-valves', 'Pneumatic valves', '{Solenoid valve,Valve terminal,Flow control valve}', 11, 390, 'piece'),
    (20, 'device', 'air-preparation', 'Air preparation', '{Filter regulator,Lubricator,Pressure gauge,Air dryer}', 7.60, 880, 'piece'),
    (21, 'device', 'hydraulic-pumps', 'Hydraulic pumps', '{Gear pump,Vane pump,Axial piston pump}', 85, 3900, 'piece'),
    (22, 'metal', 'hoses-fittings', 'Hoses and fittings', '{Hydraulic hose,Push-in fitting,Quick coupling,Hose clamp}', 0.60, 75, 'piece'),
    (23, 'metal', 'industrial-valves', 'Industrial valves', '{Ball valve,Butterfly valve,Check valve,Gate valve}', 6.20, 940, 'piece'),
    (24, 'device', 'pumps', 'Pumps', '{Centrifugal pump,Diaphragm pump,Dosing pump,Submersible pump}', 65, 4200, 'piece'),
    (25, 'goods', 'seals-gaskets', 'Seals and gaskets', '{O-ring,Shaft seal,Flat gasket,Mechanical seal}', 0.08, 120, 'piece'),
    (26, 'stock', 'steel', 'Steel', '{Steel plate,Square tube,Round bar,Angle profile}', 1.10, 9.80, 'kg'),
    (27, 'stock', 'aluminium', 'Aluminium', '{Aluminium profile,Aluminium sheet,Aluminium tube}', 3.20, 14.50, 'kg'),
    (28, 'stock', 'plastics', 'Engineering plastics', '{POM rod,PTFE sheet,Polyamide plate,PEEK rod}', 4.80, 130, 'kg'),
    (29, 'goods', 'adhesives', 'Adhesives and sealants', '{Threadlocker,Epoxy adhesive,Silicone sealant,Adhesive tape}', 3.10, 88, 'piece'),
    (30, 'goods', 'lubricants', 'Lubricants', '{Hydraulic oil,Bearing grease,Cutting fluid,Chain spray}', 4.40, 36, 'litre'),
    (31, 'goods', 'cutting-tools', 'Cutting tools', '{Carbide end mill,Twist drill,Thread tap,Turning insert}', 2.90, 210, 'piece'),
    (32, 'goods', 'abrasives', 'Abrasives', '{Cutting disc,Flap disc,Grinding wheel,Abrasive belt}', 0.70, 48, 'piece'),
    (33, 'goods', 'hand-tools', 'Hand tools', '{Torque wrench,Screwdriver set,Hex key set,Pliers}', 5.50, 260, 'piece'),
    (34, 'device', 'power-tools', 'Power tools', '{Cordless drill,Angle grinder,Impact wrench,Jigsaw}', 59, 640, 'piece'),
    (35, 'goods', 'measuring', 'Measuring instruments', '{Digital caliper,Micrometer,Dial gauge,Laser distance meter}', 12, 780, 'piece'),
    (36, 'device', 'welding', 'Welding', '{Welding wire,Welding torch,Inverter welder,Electrode pack}', 6.90, 2300, 'piece'),
    (37, 'goods', 'safety', 'Workplace safety', '{Safety helmet,Cut-resistant gloves,Ear defenders,Safety shoes}', 1.60, 135, 'pair'),
    (38, 'goods', 'packaging', 'Packaging', '{Corrugated box,Stretch film,Strapping band,Mailing tube}', 0.12, 42, 'piece'),
    (39, 'goods', 'pallets-racking', 'Pallets and racking', '{Euro pallet,Pallet rack,Mesh container,Shelf unit}', 9.50, 690, 'piece'),
    (40, 'goods', 'material-handling', 'Material handling', '{Pallet truck,Roller conveyor,Lifting table,Swivel castor}', 4.10, 2700, 'piece');

CREATE TEMPORARY TABLE families (family, makes, grades) ON COMMIT DROP AS VALUES
    ('metal', '{stainless steel,zinc-plated,hardened,nickel-plated,black oxide,hot-dip galvanised}'::text[],
              '{metric,metric fine,class 8.8,class 10.9,long life,reinforced,series 100,series 200}'::text[]),
    ('device', '{IP54,IP65,IP67,IP69K,UL listed,ATEX zone 2}',
               '{24 V DC,230 V AC,400 V AC,compact,heavy duty,low noise,series 300,series 500}'),
    ('stock', '{raw,brushed,cut to length,precision ground,pre-drilled}',
              '{6 mm,10 mm,16 mm,25 mm,40 mm,60 mm}'),
    ('goods', '{standard grade,professional,heavy duty,food grade,compact,long life}',
              '{series 10,series 20,series 40,series 60,series 80,eco}');

INSERT INTO categories (id, slug, name) SELECT id, slug, name FROM ranges;

CREATE TEMPORARY TABLE places (id, city, country, form) ON COMMIT DROP AS VALUES
    (0, 'Stuttgart', 'DE', 'GmbH'), (1, 'Milan', 'IT', 'S.p.A.'), (2, 'Eindhoven', 'NL', 'B.V.'),
    (3, 'Lyon', 'FR', 'SAS'), (4, 'Gothenburg', 'SE', 'AB'), (5, 'Birmingham', 'GB', 'Ltd'),
    (6, 'Bilbao', 'ES', 'S.A.'), (7, 'Katowice', 'PL', 'Sp. z o.o.'), (8, 'Brno', 'CZ', 's.r.o.'),
    (9, 'Istanbul', 'TR', 'A.Ş.'), (10, 'Shenzhen', 'CN', 'Co., Ltd'), (11, 'Pune', 'IN', 'Pvt Ltd'),
    (12, 'Nagoya', 'JP', 'K.K.'), (13, 'Cleveland', 'US', 'Inc.'), (14, 'Aarhus', 'DK', 'A/S'),
    (15, 'Linz', 'AT', 'GmbH');

-- 25 by 20 words make 500 names, each once.
INSERT INTO suppliers (id, name, country, city, verified, joined_on)
SELECT n,
       ('{Nordwerk,Kestrel,Alpina,Meridian,Halden,Castellan,Oryx,Varga,Brightforge,Tessel,Lindqvist,Ironbridge,Corvus,Delmar,Fjordline,Galvano,Hexagon,Juno,Kaldera,Lumen,Monteverde,Novatek,Ostmark,Pelican,Rheinland}'::text[])[1 + n % 25]
       || ' ' ||
       ('{Fastening,Bearings,Automation,Hydraulics,Metals,Tooling,Components,Controls,Drives,Industrial,Packaging,Precision,Supply,Systems,Polymers,Electric,Trading,Works,Motion,Safety}'::text[])[1 + n / 25 % 20]
       || ' ' || form,
       country, city,
       pg_temp.draw(n, 1) < 0.7,
       date '2019-01-01' + pg_temp.below(n, 2, 2000)
FROM generate_series(1, 500) AS n
JOIN places ON places.id = pg_temp.below(n, 3, 16);

INSERT INTO buyers (id, company, email, country, joined_on)
SELECT n, name || ' ' || trade || ' ' || form,
       'purchasing@' || lower(name) || '-' || n || '.example',
       country,
       date '2021-01-01' + pg_temp.below(n, 11, 1990)
FROM generate_series(1, 5000) AS n
JOIN places ON places.id = pg_temp.below(n, 12, 16)
CROSS JOIN LATERAL (VALUES (
    pg_temp.pick(n, 13, '{Hansen,Moretti,Keller,Dubois,Larsson,Whitfield,Okafor,Novak,Yilmaz,Tanaka,Costa,Petrov,Almeida,Schmid,Bakker,Horvath,Nielsen,Garcia,Kowalski,Iyer,Brennan,Virtanen,Laurent,Weber,Marchetti}'),
    pg_temp.pick(n, 14, '{Maschinenbau,Engineering,Manufacturing,Robotics,Foods,Marine,Automotive,Facilities,Construction,Aerospace,Energy,Furniture,Labs,Logistics,Textiles,Rail}')
)) AS words (name, trade);

-- A few suppliers and categories hold much of the range, as they do.
INSERT INTO products (id, supplier_id, category_id, sku, name, description, unit, min_quantity, price, stock,
                      discontinued, listed_at)
SELECT n,
       1 + pg_temp.below(n, 21, 500, 1.6),
       ranges.id,
       upper(left(replace(slug, '-', ''), 3)) || '-' || lpad(n::text, 6, '0'),
       noun || ', ' || make || ', ' || grade,
       noun || ' (' || make || ', ' || grade || ') for ' || use || '. Sold by the ' || unit
       || '; certificates and samples on request.',
       unit,
       (CASE WHEN price > 100 THEN '{1}' WHEN price > 10 THEN '{1,2,5,10}' ELSE '{10,25,50,100}' END::integer[])
           [1 + pg_temp.below(n, 22, CASE WHEN price > 100 THEN 1 ELSE 4 END)],
       price,
       pg_temp.below(n, 24, 5000, 3),
       pg_temp.draw(n, 25) < 0.02,
       timestamptz '2022-01-01 08:00Z' + n * interval '1 hour 58 minutes' + pg_temp.draw(n, 26) * interval '90 minutes'
FROM generate_series(1, 20000) AS n
JOIN ranges ON ranges.id = 1 + pg_temp.below(n, 27, 40, 1.3)
JOIN families USING (family)
CROSS JOIN LATERAL (VALUES (
    pg_temp.pick(n, 28, nouns),
    pg_temp.pick(n, 29, makes),
    pg_temp.pick(n, 30, grades),
    pg_temp.pick(n, 31, '{assembly lines,food processing,outdoor use,machine tools,conveyors,clean rooms,construction sites,marine use,maintenance and repair}')
)) AS words (noun, make, grade, use)
CROSS JOIN LATERAL (VALUES (
    round((low::double precision * power((high / low)::double precision, pg_temp.draw(n, 23)))::numeric, 2)
)) AS prices (price);

INSERT INTO inquiries (id, product_id, buyer_id, quantity, message, status, created_at)
SELECT n,
       1 + pg_temp.below(n, 41, 20000, 2),
       1 + pg_temp.below(n, 42, 5000),
       10 + pg_temp.below(n, 43, 990, 2),
       pg_temp.pick(n, 44, '{"What is your lead time for this quantity?","Please quote delivered to our works, duty paid.","Can you supply a material certificate 3.1?","Do you offer a framework contract over 12 months?","Is a sample available before we order?","We need this with a customer-specific marking."}'),
       CASE WHEN n > 2850 THEN 'open' ELSE pg_temp.pick(n, 45, '{answered,answered,quoted,closed}') END,
       timestamptz '2024-07-01 07:30Z' + n * interval '5 hours 50 minutes'
FROM generate_series(1, 3000) AS n;

-- Each product's place in its supplier's range.
CREATE TEMPORARY TABLE places_in_range ON COMMIT DROP AS
SELECT id, supplier_id, price, min_quantity,
       (row_number() OVER range - 1)::integer AS place,
       (count(*) OVER (PARTITION BY supplier_id))::integer AS size
FROM products
WINDOW range AS (PARTITION BY supplier_id ORDER BY id);

-- Trade grows over the two years, and is done from 07:00 to 19:00 UTC.
CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
SELECT n AS id,
       1 + pg_temp.below(n, 51, 5000, 1.5) AS buyer_id,
       supplier_id, place, size, day,
       timestamptz '2024-07-01 07:00Z' + floor(day) * interval '1 day'
           + (day - floor(day)) * interval '12 hours' AS placed_at
FROM generate_series(1, 60000) AS n
CROSS JOIN LATERAL (VALUES (730 * power((n::double precision - 0.5) / 60000, 0.75))) AS days (day)
JOIN places_in_range AS first ON first.id = 1 + pg_temp.below(n, 52, 20000, 1.5);

ANALYZE places_in_range, placed;

-- An order is for 1 to 4 products of one supplier, neighbours in its range.
INSERT INTO order_items (id, order_id, product_id, quantity, unit_price)
SELECT row_number() OVER (ORDER BY placed.id, line),
       placed.id, item.id,
       min_quantity * (1 + pg_temp.below(placed.id * 4 + line, 61, 9, 2)),
       round(price * (0.88 + 0.12 * pg_temp.draw(placed.id * 4 + line, 62))::numeric + 0.01, 2)
FROM placed
CROSS JOIN LATERAL generate_series(0, pg_temp.below(placed.id, 63, 4)) AS line
JOIN places_in_range AS item
    ON item.supplier_id = placed.supplier_id AND item.place = (placed.place + line) % placed.size;

INSERT INTO orders (id, buyer_id, supplier_id, status, total, placed_at)
SELECT placed.id, buyer_id, supplier_id,
       CASE
           WHEN pg_temp.draw(placed.id, 71) < 0.04 THEN 'cancelled'
           WHEN day > 727 THEN 'placed'
           WHEN day > 718 THEN pg_temp.pick(placed.id, 72, '{confirmed,shipped,shipped}')
           ELSE 'delivered'
       END,
       sums.total, placed_at
FROM placed
JOIN (SELECT order_id, sum(quantity * unit_price) AS total FROM order_items GROUP BY order_id) AS sums
    ON sums.order_id = placed.id
ORDER BY placed.id;

SELECT setval(pg_get_serial_sequence('suppliers', 'id'), 500),
       setval(pg_get_serial_sequence('buyers', 'id'), 5000),
       setval(pg_get_serial_sequence('products', 'id'), 20000),
       setval(pg_get_serial_sequence('inquiries', 'id'), 3000),
       setval(pg_get_serial_sequence('orders', 'id'), 60000),
       setval(pg_get_serial_sequence('order_items', 'id'), (SELECT max(id) FROM order_items));

ALTER TABLE products
    ADD FOREIGN KEY (supplier_id) REFERENCES suppliers,
    ADD FOREIGN KEY (category_id) REFERENCES categories;
ALTER TABLE inquiries
    ADD FOREIGN KEY (product_id) REFERENCES products,
    ADD FOREIGN KEY (buyer_id) REFERENCES buyers;
ALTER TABLE orders
    ADD FOREIGN KEY (buyer_id) REFERENCES buyers,
    ADD FOREIGN KEY (supplier_id) REFERENCES suppliers;
ALTER TABLE order_items
    ADD FOREIGN KEY (order_id) REFERENCES orders,
    ADD FOREIGN KEY (product_id) REFERENCES products;
