CREATE TABLE public.annotators (
    project integer NOT NULL,
    email character varying(200) NOT NULL,
    "user" integer,
    queue_project integer
);
CREATE TABLE public.audit (
    id integer NOT NULL,
    project integer NOT NULL,
    at double precision NOT NULL,
    who character varying(200) NOT NULL,
    name character varying(100) NOT NULL,
    old json,
    old_source character varying(40),
    new json,
    new_source character varying(40)
);
CREATE SEQUENCE public.audit_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_id_seq OWNED BY public.audit.id;
CREATE TABLE public.copies (
    project integer NOT NULL,
    item integer NOT NULL,
    annotator character varying(200) NOT NULL,
    rank integer NOT NULL,
    queue_task integer NOT NULL,
    predicted_by character varying(100)
);
CREATE TABLE public.events (
    id integer NOT NULL,
    source integer,
    action character varying(100) NOT NULL,
    payload json NOT NULL,
    received_at double precision NOT NULL,
    handled_at double precision
);
CREATE SEQUENCE public.events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.events_id_seq OWNED BY public.events.id;
CREATE TABLE public.facts (
    name character varying(200) NOT NULL,
    value json NOT NULL
);
CREATE TABLE public.items (
    id integer NOT NULL,
    project integer NOT NULL,
    task integer NOT NULL,
    data json NOT NULL,
    image text NOT NULL,
    content_hash character varying(64),
    problem text,
    retry_at double precision NOT NULL,
    attempts integer NOT NULL,
    gone boolean NOT NULL
);
CREATE SEQUENCE public.items_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.items_id_seq OWNED BY public.items.id;
CREATE TABLE public.labels (
    project integer NOT NULL,
    annotation integer NOT NULL,
    source integer NOT NULL,
    item integer NOT NULL,
    label text,
    problem text,
    skipped boolean NOT NULL,
    annotator character varying(200) NOT NULL,
    updated_at character varying(40) NOT NULL
);
CREATE TABLE public.leases (
    name character varying(200) NOT NULL,
    holder character varying(200) NOT NULL,
    expires_at double precision NOT NULL
);
CREATE TABLE public.projects (
    id integer NOT NULL,
    studio_url character varying(500) NOT NULL,
    pool_project integer NOT NULL,
    queue_project integer,
    backend_url text NOT NULL,
    title text NOT NULL,
    label_config text NOT NULL,
    layers json NOT NULL,
    problems json NOT NULL,
    activity json NOT NULL,
    pool_version integer NOT NULL,
    pool_synced_at double precision NOT NULL,
    queue_synced_at double precision NOT NULL,
    backbone character varying(64) NOT NULL,
    report json,
    report_key character varying(64) NOT NULL,
    exhausted_key character varying(64) DEFAULT ''::character varying NOT NULL,
    champion character varying(100),
    least_labels integer DEFAULT 0 NOT NULL,
    described json
);
CREATE SEQUENCE public.projects_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.projects_id_seq OWNED BY public.projects.id;
CREATE TABLE public.rounds (
    project integer NOT NULL,
    number integer NOT NULL,
    strategy character varying(100) NOT NULL,
    seed integer NOT NULL,
    model_version character varying(100),
    created_at double precision NOT NULL
);
CREATE TABLE public.selections (
    project integer NOT NULL,
    item integer NOT NULL,
    round integer NOT NULL,
    rank integer NOT NULL,
    gain double precision NOT NULL,
    sentence text NOT NULL,
    reason json NOT NULL,
    queue_task integer,
    predicted_by character varying(100),
    annotator character varying(200) DEFAULT ''::character varying NOT NULL
);
CREATE TABLE public.trainings (
    project integer NOT NULL,
    number integer NOT NULL,
    version character varying(100),
    round integer NOT NULL,
    labels json NOT NULL,
    outcome text NOT NULL,
    metrics json NOT NULL,
    created_at double precision NOT NULL
);
CREATE TABLE public.vectors (
    content_hash character varying(64) NOT NULL,
    backbone character varying(64) NOT NULL,
    vector bytea NOT NULL
);
ALTER TABLE ONLY public.audit ALTER COLUMN id SET DEFAULT nextval('public.audit_id_seq'::regclass);
ALTER TABLE ONLY public.events ALTER COLUMN id SET DEFAULT nextval('public.events_id_seq'::regclass);
ALTER TABLE ONLY public.items ALTER COLUMN id SET DEFAULT nextval('public.items_id_seq'::regclass);
ALTER TABLE ONLY public.projects ALTER COLUMN id SET DEFAULT nextval('public.projects_id_seq'::regclass);
INSERT INTO public.annotators VALUES (1, 'ann@example.org', 7, 51);
INSERT INTO public.audit VALUES (1, 1, 1795642359.8239975, 'dr@example.org', 'start_training', NULL, NULL, NULL, NULL);
INSERT INTO public.copies VALUES (1, 4, 'ann@example.org', 25, 990, NULL);
INSERT INTO public.events VALUES (1, 4, 'ANNOTATION_CREATED', '{"tasks": [905]}', 1795642359.8200166, NULL);
INSERT INTO public.events VALUES (2, 3, 'START_TRAINING', '{"who": "dr@example.org"}', 1795642359.8239975, NULL);
INSERT INTO public.facts VALUES ('label_studio', '{"reachable": true, "problem": null}');
INSERT INTO public.items VALUES (1, 1, 100, '{"image": "/0.jpg", "site": "north", "id": "x0"}', '/0.jpg', '0000000000000000000000000000000000000000000000000000000000000000', NULL, 0, 0, false);
INSERT INTO public.items VALUES (2, 1, 101, '{"image": "/1.jpg", "site": "south", "id": "x1"}', '/1.jpg', '0000000000000000000000000000000000000000000000000000000000000001', NULL, 0, 0, false);
INSERT INTO public.items VALUES (3, 1, 102, '{"image": "/2.jpg", "site": "north", "id": "x2"}', '/2.jpg', '0000000000000000000000000000000000000000000000000000000000000002', NULL, 0, 0, false);
INSERT INTO public.items VALUES (4, 1, 103, '{"image": "/3.jpg", "site": "south", "id": "x3"}', '/3.jpg', '0000000000000000000000000000000000000000000000000000000000000003', NULL, 0, 0, false);
INSERT INTO public.items VALUES (5, 1, 104, '{"image": "/4.jpg", "site": "north", "id": "x4"}', '/4.jpg', '0000000000000000000000000000000000000000000000000000000000000004', NULL, 0, 0, false);
INSERT INTO public.items VALUES (6, 1, 105, '{"image": "/5.jpg", "site": "south", "id": "x5"}', '/5.jpg', '0000000000000000000000000000000000000000000000000000000000000005', NULL, 0, 0, false);
INSERT INTO public.items VALUES (7, 1, 106, '{"image": "/6.jpg", "site": "south", "id": "x6"}', '/6.jpg', '0000000000000000000000000000000000000000000000000000000000000006', NULL, 0, 0, false);
INSERT INTO public.items VALUES (8, 1, 107, '{"image": "/7.jpg", "site": "south", "id": "x7"}', '/7.jpg', '0000000000000000000000000000000000000000000000000000000000000007', NULL, 0, 0, false);
INSERT INTO public.items VALUES (9, 1, 108, '{"image": "/8.jpg", "site": "north", "id": "x8"}', '/8.jpg', '0000000000000000000000000000000000000000000000000000000000000008', NULL, 0, 0, false);
INSERT INTO public.items VALUES (10, 1, 109, '{"image": "/9.jpg", "site": "north", "id": "x9"}', '/9.jpg', '0000000000000000000000000000000000000000000000000000000000000009', NULL, 0, 0, false);
INSERT INTO public.items VALUES (11, 1, 110, '{"image": "/10.jpg", "site": "north", "id": "x10"}', '/10.jpg', '0000000000000000000000000000000000000000000000000000000000000010', NULL, 0, 0, false);
INSERT INTO public.items VALUES (12, 1, 111, '{"image": "/11.jpg", "site": "south", "id": "x11"}', '/11.jpg', '0000000000000000000000000000000000000000000000000000000000000011', NULL, 0, 0, false);
INSERT INTO public.items VALUES (13, 1, 112, '{"image": "/12.jpg", "site": "north", "id": "x12"}', '/12.jpg', '0000000000000000000000000000000000000000000000000000000000000012', NULL, 0, 0, false);
INSERT INTO public.items VALUES (14, 1, 113, '{"image": "/13.jpg", "site": "south", "id": "x13"}', '/13.jpg', '0000000000000000000000000000000000000000000000000000000000000013', NULL, 0, 0, false);
INSERT INTO public.items VALUES (15, 1, 114, '{"image": "/14.jpg", "site": "north", "id": "x14"}', '/14.jpg', '0000000000000000000000000000000000000000000000000000000000000014', NULL, 0, 0, false);
INSERT INTO public.items VALUES (16, 1, 115, '{"image": "/15.jpg", "site": "south", "id": "x15"}', '/15.jpg', '0000000000000000000000000000000000000000000000000000000000000015', NULL, 0, 0, false);
INSERT INTO public.items VALUES (17, 1, 116, '{"image": "/16.jpg", "site": "north", "id": "x16"}', '/16.jpg', '0000000000000000000000000000000000000000000000000000000000000016', NULL, 0, 0, false);
INSERT INTO public.items VALUES (18, 1, 117, '{"image": "/17.jpg", "site": "south", "id": "x17"}', '/17.jpg', '0000000000000000000000000000000000000000000000000000000000000017', NULL, 0, 0, false);
INSERT INTO public.items VALUES (19, 1, 118, '{"image": "/18.jpg", "site": "north", "id": "x18"}', '/18.jpg', '0000000000000000000000000000000000000000000000000000000000000018', NULL, 0, 0, false);
INSERT INTO public.items VALUES (20, 1, 119, '{"image": "/19.jpg", "site": "south", "id": "x19"}', '/19.jpg', '0000000000000000000000000000000000000000000000000000000000000019', NULL, 0, 0, false);
INSERT INTO public.items VALUES (21, 1, 120, '{"image": "/20.jpg", "site": "north", "id": "x20"}', '/20.jpg', '0000000000000000000000000000000000000000000000000000000000000020', NULL, 0, 0, false);
INSERT INTO public.items VALUES (22, 1, 121, '{"image": "/21.jpg", "site": "south", "id": "x21"}', '/21.jpg', '0000000000000000000000000000000000000000000000000000000000000021', NULL, 0, 0, false);
INSERT INTO public.items VALUES (23, 1, 122, '{"image": "/22.jpg", "site": "north", "id": "x22"}', '/22.jpg', '0000000000000000000000000000000000000000000000000000000000000022', NULL, 0, 0, false);
INSERT INTO public.items VALUES (24, 1, 123, '{"image": "/23.jpg", "site": "south", "id": "x23"}', '/23.jpg', '0000000000000000000000000000000000000000000000000000000000000023', NULL, 0, 0, false);
INSERT INTO public.items VALUES (25, 1, 124, '{"image": "/24.jpg", "site": "south", "id": "x24"}', '/24.jpg', '0000000000000000000000000000000000000000000000000000000000000024', NULL, 0, 0, false);
INSERT INTO public.items VALUES (26, 1, 125, '{"image": "/25.jpg", "site": "south", "id": "x25"}', '/25.jpg', '0000000000000000000000000000000000000000000000000000000000000025', NULL, 0, 0, false);
INSERT INTO public.items VALUES (27, 1, 126, '{"image": "/26.jpg", "site": "north", "id": "x26"}', '/26.jpg', '0000000000000000000000000000000000000000000000000000000000000026', NULL, 0, 0, false);
INSERT INTO public.items VALUES (28, 1, 127, '{"image": "/27.jpg", "site": "south", "id": "x27"}', '/27.jpg', '0000000000000000000000000000000000000000000000000000000000000027', NULL, 0, 0, false);
INSERT INTO public.items VALUES (29, 1, 128, '{"image": "/28.jpg", "site": "north", "id": "x28"}', '/28.jpg', '0000000000000000000000000000000000000000000000000000000000000028', NULL, 0, 0, false);
INSERT INTO public.items VALUES (30, 1, 129, '{"image": "/29.jpg", "site": "south", "id": "x29"}', '/29.jpg', '0000000000000000000000000000000000000000000000000000000000000029', NULL, 0, 0, false);
INSERT INTO public.items VALUES (31, 1, 130, '{"image": "/30.jpg", "site": "north", "id": "x30"}', '/30.jpg', '0000000000000000000000000000000000000000000000000000000000000030', NULL, 0, 0, false);
INSERT INTO public.items VALUES (32, 1, 131, '{"image": "/31.jpg", "site": "north", "id": "x31"}', '/31.jpg', '0000000000000000000000000000000000000000000000000000000000000031', NULL, 0, 0, false);
INSERT INTO public.items VALUES (33, 1, 132, '{"image": "/32.jpg", "site": "north", "id": "x32"}', '/32.jpg', '0000000000000000000000000000000000000000000000000000000000000032', NULL, 0, 0, false);
INSERT INTO public.items VALUES (34, 1, 133, '{"image": "/33.jpg", "site": "south", "id": "x33"}', '/33.jpg', '0000000000000000000000000000000000000000000000000000000000000033', NULL, 0, 0, false);
INSERT INTO public.items VALUES (35, 1, 134, '{"image": "/34.jpg", "site": "north", "id": "x34"}', '/34.jpg', '0000000000000000000000000000000000000000000000000000000000000034', NULL, 0, 0, false);
INSERT INTO public.items VALUES (36, 1, 135, '{"image": "/35.jpg", "site": "south", "id": "x35"}', '/35.jpg', '0000000000000000000000000000000000000000000000000000000000000035', NULL, 0, 0, false);
INSERT INTO public.items VALUES (37, 1, 136, '{"image": "/36.jpg", "site": "north", "id": "x36"}', '/36.jpg', '0000000000000000000000000000000000000000000000000000000000000036', NULL, 0, 0, false);
INSERT INTO public.items VALUES (38, 1, 137, '{"image": "/37.jpg", "site": "south", "id": "x37"}', '/37.jpg', '0000000000000000000000000000000000000000000000000000000000000037', NULL, 0, 0, false);
INSERT INTO public.items VALUES (39, 1, 138, '{"image": "/38.jpg", "site": "north", "id": "x38"}', '/38.jpg', '0000000000000000000000000000000000000000000000000000000000000038', NULL, 0, 0, false);
INSERT INTO public.items VALUES (40, 1, 139, '{"image": "/39.jpg", "site": "north", "id": "x39"}', '/39.jpg', '0000000000000000000000000000000000000000000000000000000000000039', NULL, 0, 0, false);
INSERT INTO public.items VALUES (41, 1, 140, '{"image": "/40.jpg", "site": "north", "id": "x40"}', '/40.jpg', '0000000000000000000000000000000000000000000000000000000000000040', NULL, 0, 0, false);
INSERT INTO public.items VALUES (42, 1, 141, '{"image": "/41.jpg", "site": "south", "id": "x41"}', '/41.jpg', '0000000000000000000000000000000000000000000000000000000000000041', NULL, 0, 0, false);
INSERT INTO public.items VALUES (43, 1, 142, '{"image": "/42.jpg", "site": "north", "id": "x42"}', '/42.jpg', '0000000000000000000000000000000000000000000000000000000000000042', NULL, 0, 0, false);
INSERT INTO public.items VALUES (44, 1, 143, '{"image": "/43.jpg", "site": "south", "id": "x43"}', '/43.jpg', '0000000000000000000000000000000000000000000000000000000000000043', NULL, 0, 0, false);
INSERT INTO public.items VALUES (45, 1, 144, '{"image": "/44.jpg", "site": "south", "id": "x44"}', '/44.jpg', '0000000000000000000000000000000000000000000000000000000000000044', NULL, 0, 0, false);
INSERT INTO public.items VALUES (46, 1, 145, '{"image": "/45.jpg", "site": "south", "id": "x45"}', '/45.jpg', '0000000000000000000000000000000000000000000000000000000000000045', NULL, 0, 0, false);
INSERT INTO public.items VALUES (47, 1, 146, '{"image": "/46.jpg", "site": "north", "id": "x46"}', '/46.jpg', '0000000000000000000000000000000000000000000000000000000000000046', NULL, 0, 0, false);
INSERT INTO public.items VALUES (48, 1, 147, '{"image": "/47.jpg", "site": "south", "id": "x47"}', '/47.jpg', '0000000000000000000000000000000000000000000000000000000000000047', '404: no such file', 0, 1, false);
INSERT INTO public.labels VALUES (1, 33, 4, 33, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 36, 4, 36, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 5, 4, 5, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 41, 4, 41, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 10, 4, 10, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 46, 4, 46, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 16, 4, 16, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 18, 4, 18, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 19, 4, 19, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 22, 4, 22, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 25, 4, 25, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 29, 4, 29, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 4, 4, 4, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 6, 4, 6, 'benign', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 9, 4, 9, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 11, 4, 11, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.labels VALUES (1, 15, 4, 15, 'malignant', NULL, false, '1', '2026-01-01');
INSERT INTO public.leases VALUES ('project:1', 'gone:1:abc', 1795642419.8491924);
INSERT INTO public.projects VALUES (1, 'http://studio', 3, 4, '', '', '<View>
  <View style="display: flex; gap: 1em; align-items: baseline">
    <Header value="$cdsel_place" size="5" style="white-space: nowrap"/>
    <Header value="$cdsel_reason" size="5" style="font-weight: normal; font-size: 15px"/>
  </View>
  <Choices name="diagnosis" toName="image" choice="single-radio" showInLine="true" required="true">
    <Choice value="benign" hotkey="1"/>
    <Choice value="malignant" hotkey="2"/>
  </Choices>
  <Image name="image" value="$image" zoom="true" zoomControl="true" rotateControl="true" maxheight="calc(100vh - 230px)"/>
</View>
', '{"extra parameters": {"budget": 30, "round_size": 12, "retrain_every": 1000}}', '{"metadata": ["no task has a metadata field ''ward''"]}', '{"step": "selecting the next round", "done": 0, "total": 12}', 1, 0, 0, 'b', '{"confounders": ["site"], "findings": [{"variable": "site", "verdict": "confounder", "sentence": "site can mislead a model (a probe tells its levels apart with AUROC 0.99; Cram\u00e9r''s V with clusters of the images 0.43).", "levels": 2, "encoded": 0.9895833333333334, "encoded_p": 0.0025, "encoded_interval": [0.9373154606347952, 1.0], "associated": 0.43323925957679243, "associated_p": 0.015, "associated_interval": [0.0, 0.7650329306005372], "associated_with": "clusters", "associated_class": null, "dependence": null, "dependence_p": null}, {"variable": "id", "verdict": "left out", "sentence": "id identifies: 48 different values in 48 items.", "levels": 48, "encoded": null, "encoded_p": null, "encoded_interval": null, "associated": null, "associated_p": null, "associated_interval": null, "associated_with": "clusters", "associated_class": null, "dependence": null, "dependence_p": null}], "latent": []}', 'c40220a4720ac2e5b0b5924e71cb85b6', '', 'cdsel-3-v1', 0, NULL);
INSERT INTO public.rounds VALUES (1, 1, 'confounder_aware', 1, NULL, 1795642354.3439395);
INSERT INTO public.rounds VALUES (1, 2, 'confounder_aware', 2, 'cdsel-3-v1', 1795642359.7238553);
INSERT INTO public.selections VALUES (1, 33, 1, 1, 0.38206760986780713, 'Site north: image 1 of 6 due this round; stands for 15 images that look like it.', '{"stratum": "site north", "due": 6.0, "got": 1, "covers": 15, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 1 of 6 due this round; stands for 15 images that look like it.", "levels": {"site": "north"}}', 901, NULL, '');
INSERT INTO public.selections VALUES (1, 10, 1, 2, 0.23387919277034278, 'Site north: image 2 of 6 due this round; stands for 9 images that look like it.', '{"stratum": "site north", "due": 6.0, "got": 2, "covers": 9, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 2 of 6 due this round; stands for 9 images that look like it.", "levels": {"site": "north"}}', 902, NULL, '');
INSERT INTO public.selections VALUES (1, 46, 1, 3, 0.22694384651961005, 'Site south: image 1 of 6 due this round; stands for 9 images that look like it.', '{"stratum": "site south", "due": 6.0, "got": 1, "covers": 9, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 1 of 6 due this round; stands for 9 images that look like it.", "levels": {"site": "south"}}', 903, NULL, '');
INSERT INTO public.selections VALUES (1, 19, 1, 4, 0.16805015250100228, 'Site north: image 3 of 6 due this round; stands for 10 images that look like it.', '{"stratum": "site north", "due": 6.0, "got": 3, "covers": 10, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 3 of 6 due this round; stands for 10 images that look like it.", "levels": {"site": "north"}}', 904, NULL, '');
INSERT INTO public.selections VALUES (1, 36, 1, 5, 0.16537648309323721, 'Site south: image 2 of 6 due this round; stands for 9 images that look like it.', '{"stratum": "site south", "due": 6.0, "got": 2, "covers": 9, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 2 of 6 due this round; stands for 9 images that look like it.", "levels": {"site": "south"}}', 905, NULL, '');
INSERT INTO public.selections VALUES (1, 16, 1, 6, 0, 'Drawn at random from all images, to tell what the whole pool is like.', '{"stratum": "site south", "due": 6.0, "got": 3, "covers": 0, "uncertainty": null, "drawn_at_random": true, "by_chance": false, "sentence": "Drawn at random from all images, to tell what the whole pool is like.", "levels": {"site": "south"}}', 906, NULL, '');
INSERT INTO public.selections VALUES (1, 41, 1, 7, 0.13427259515441203, 'Site north: image 4 of 6 due this round; stands for 7 images that look like it.', '{"stratum": "site north", "due": 6.0, "got": 4, "covers": 7, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 4 of 6 due this round; stands for 7 images that look like it.", "levels": {"site": "north"}}', 907, NULL, '');
INSERT INTO public.selections VALUES (1, 18, 1, 8, 0.1268087568701977, 'Site south: image 4 of 6 due this round; stands for 5 images that look like it.', '{"stratum": "site south", "due": 6.0, "got": 4, "covers": 5, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 4 of 6 due this round; stands for 5 images that look like it.", "levels": {"site": "south"}}', 908, NULL, '');
INSERT INTO public.selections VALUES (1, 5, 1, 9, 0.10606984589860174, 'Site north: image 5 of 6 due this round; stands for 4 images that look like it.', '{"stratum": "site north", "due": 6.0, "got": 5, "covers": 4, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 5 of 6 due this round; stands for 4 images that look like it.", "levels": {"site": "north"}}', 909, NULL, '');
INSERT INTO public.selections VALUES (1, 22, 1, 10, 0.10325762797758314, 'Site south: image 5 of 6 due this round; stands for 4 images that look like it.', '{"stratum": "site south", "due": 6.0, "got": 5, "covers": 4, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 5 of 6 due this round; stands for 4 images that look like it.", "levels": {"site": "south"}}', 910, NULL, '');
INSERT INTO public.selections VALUES (1, 29, 1, 11, 0.09051394406483834, 'Site north: image 6 of 6 due this round; stands for 5 images that look like it.', '{"stratum": "site north", "due": 6.0, "got": 6, "covers": 5, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 6 of 6 due this round; stands for 5 images that look like it.", "levels": {"site": "north"}}', 911, NULL, '');
INSERT INTO public.selections VALUES (1, 25, 1, 12, 0.08769583211368587, 'Site south: image 6 of 6 due this round; unlike the images chosen before it.', '{"stratum": "site south", "due": 6.0, "got": 6, "covers": 1, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 6 of 6 due this round; unlike the images chosen before it.", "levels": {"site": "south"}}', 912, NULL, '');
INSERT INTO public.selections VALUES (1, 35, 2, 13, 0.08156948420475323, 'Site north: image 1 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.', '{"stratum": "site north", "due": 6.0, "got": 1, "covers": 2, "uncertainty": 0.9969598060348113, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 1 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "north"}}', 913, NULL, '');
INSERT INTO public.selections VALUES (1, 30, 2, 14, 0.08131128722111933, 'Site south: image 1 of 6 due this round; the model is not yet sure of such images.', '{"stratum": "site south", "due": 6.0, "got": 1, "covers": 1, "uncertainty": 0.9981882045280199, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 1 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "south"}}', 914, NULL, '');
INSERT INTO public.selections VALUES (1, 15, 2, 15, 0, 'Drawn at random from all images, to tell what the whole pool is like.', '{"stratum": "site north", "due": 6.0, "got": 2, "covers": 0, "uncertainty": 0.9821597541511407, "drawn_at_random": true, "by_chance": false, "sentence": "Drawn at random from all images, to tell what the whole pool is like.", "levels": {"site": "north"}}', 915, NULL, '');
INSERT INTO public.selections VALUES (1, 37, 2, 16, 0.07509083736899552, 'Site north: image 3 of 6 due this round; the model is not yet sure of such images.', '{"stratum": "site north", "due": 6.0, "got": 3, "covers": 1, "uncertainty": 0.9985437373228645, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 3 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "north"}}', 916, NULL, '');
INSERT INTO public.selections VALUES (1, 4, 2, 17, 0.07492782568235937, 'Site south: image 2 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.', '{"stratum": "site south", "due": 6.0, "got": 2, "covers": 2, "uncertainty": 0.9917436794051451, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 2 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "south"}}', 917, NULL, '');
INSERT INTO public.selections VALUES (1, 11, 2, 18, 0.0696758288400431, 'Site north: image 4 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.', '{"stratum": "site north", "due": 6.0, "got": 4, "covers": 2, "uncertainty": 0.9830563623080801, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 4 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "north"}}', 918, NULL, '');
INSERT INTO public.selections VALUES (1, 6, 2, 19, 0.06960487816857136, 'Site south: image 3 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.', '{"stratum": "site south", "due": 6.0, "got": 3, "covers": 2, "uncertainty": 0.9930470015534598, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 3 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "south"}}', 919, NULL, '');
INSERT INTO public.selections VALUES (1, 40, 2, 20, 0.06550521845833483, 'Site north: image 5 of 6 due this round; the model is not yet sure of such images.', '{"stratum": "site north", "due": 6.0, "got": 5, "covers": 1, "uncertainty": 0.9795251064407968, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 5 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "north"}}', 920, NULL, '');
INSERT INTO public.selections VALUES (1, 26, 2, 21, 0, 'Drawn at random from all images, to tell what the whole pool is like.', '{"stratum": "site south", "due": 6.0, "got": 4, "covers": 0, "uncertainty": 0.9948615201098827, "drawn_at_random": true, "by_chance": false, "sentence": "Drawn at random from all images, to tell what the whole pool is like.", "levels": {"site": "south"}}', 921, NULL, '');
INSERT INTO public.selections VALUES (1, 38, 2, 22, 0.06519939618372535, 'Site south: image 5 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.', '{"stratum": "site south", "due": 6.0, "got": 5, "covers": 2, "uncertainty": 0.964615291745593, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 5 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "south"}}', 922, NULL, '');
INSERT INTO public.selections VALUES (1, 9, 2, 23, 0.061966960292576395, 'Site north: image 6 of 6 due this round; stands for 3 images that look like it; the model is not yet sure of such images.', '{"stratum": "site north", "due": 6.0, "got": 6, "covers": 3, "uncertainty": 0.9740092532568392, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 6 of 6 due this round; stands for 3 images that look like it; the model is not yet sure of such images.", "levels": {"site": "north"}}', 923, NULL, '');
INSERT INTO public.selections VALUES (1, 42, 2, 24, 0.061570283368285836, 'Site south: image 6 of 6 due this round; the model is not yet sure of such images.', '{"stratum": "site south", "due": 6.0, "got": 6, "covers": 1, "uncertainty": 0.9591208507130811, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 6 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "south"}}', 924, NULL, '');
INSERT INTO public.trainings VALUES (1, 1, 'cdsel-3-v1', 1, '{"5": "malignant", "10": "benign", "16": "benign", "18": "benign", "19": "malignant", "22": "benign", "25": "malignant", "29": "malignant", "33": "malignant", "36": "benign", "41": "malignant", "46": "benign"}', 'promoted', '{"n": 4, "accuracy": null, "balanced_accuracy": null, "group_balanced_accuracy": null, "worst_group_accuracy": null, "worst_group": null, "groups": [{"group": "malignant, site north", "n": 1, "accuracy": 1.0, "unreliable": true, "patients": 1}, {"group": "benign, site south", "n": 3, "accuracy": 0.6666666666666666, "unreliable": true, "patients": 3}], "within_group_auc": null, "calibration_error": null, "intervals": {}, "reasons": {"accuracy": "only 4 held-out labels; 15 are needed", "balanced_accuracy": "too few held-out labels of some class", "group_balanced_accuracy": "fewer than two groups have 15 held-out labels", "worst_group_accuracy": "fewer than two groups have 15 held-out labels", "within_group_auc": "no group holds enough of two classes", "calibration_error": "fewer than two groups have 15 held-out labels"}, "fine_tune": {"asked": "auto", "taken": false, "why": "there is no GPU"}, "insight": {"random_share": {"n": 1, "error": null, "prevalence": null, "words": "Too few yet: 1 of the 15 labels due were drawn by chance."}, "curve": {"asked": 12, "sizes": [6], "tested": 12, "ahead": [], "curves": {}, "worth": "cannot tell", "words": "Cannot tell yet: 8 of the 40 labels due can be trained on."}, "saved": "How many labels the choice of images saves against chance cannot be told: 1 of the 100 labels due to train on were drawn by chance. `cdsel simulate` tells it on labelled images.", "suspects": []}}', 1795642359.561179);
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000000', 'b', '\xfd403043213b22358cbada3903b8093b4abc513b23a5ffbc06b5ed2a5d34dcbb');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000001', 'b', '\x6ebc633278b78933133a98be1234e63cc3b47dba053a0e342b3b86b5edbd0aaf');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000002', 'b', '\x1c418d43323286bec8bc123b70391fb94c9421377f37033b1b3412ae24b4393c');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000003', 'b', '\x80c070b03928b4bd533536b9e63a05b05a39e03c203601bb0fbe033f1faf82b9');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000004', 'b', '\x4a429e41d13a58280a23b7b9833723bc5439193e19beefc0ef38194101bc01bd');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000005', 'b', '\xb638baba0cb892b542387cb67234a6b1c2ba1eb59abbac1e7fbc5fbcd43dcfaa');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000006', 'b', '\xe6aa0643bcb650b3cd368534a3bcab3ab9b839bc34bb40b6823eb4bc1f3147c0');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000007', 'b', '\x6b96323b93b309b969339a394f39e43fb132bdb808b0a4acf62eb0a79131afbe');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000008', 'b', '\xa943da40b1bc1a39453de337283175bbbe410b3b8fbc3dba912d38be653158b7');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000009', 'b', '\x3a44b23b6cc1572978be703c6131633843bc503f0a4042bcf73563b909a610bd');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000010', 'b', '\xde441040bdb403382eb9a8b382b845b0afbc02b79fb257b5422bb1b4073a2cb5');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000011', 'b', '\x5fb051b936b80fbd263892bcf8b9bf35713667b60ac0ba362734a6bd2a3a9cb9');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000012', 'b', '\x7f3f3142b6b17c326cbe403fd2b829bef338adb533356fb5a6abdd33f9b96e39');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000013', 'b', '\x85b7f5baee2c1f3755b3e6baf5380bbf20bc0f2972bd2b2706ab313b51bb02b9');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000014', 'b', '\xab425738334297b9d7b9e43a19a91ebf0439d83a33b781b4c73745bb04376132');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000015', 'b', '\x66b992bd38b301bb013c9c30423a4f30353444ba5839243ff4b4beb80db1b3b7');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000016', 'b', '\x99404742a8b4c13d9c0a2f359e3bd0b4bf3d10b977badcb558af9bbd7ea8acbe');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000017', 'b', '\x923d2fad23b944bb27b623b32ebc5cbbfdb12bb8843b8d3c1a24943757bd1939');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000018', 'b', '\xf041f842673e90c02d3465bcbd3841bdedb77d32e838c92c58ba6eb8133ba29d');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000019', 'b', '\xbcbec03aa936fd3a63b5a03a3fbc8f38d9b76539063ce3b98faafc28c23caf39');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000020', 'b', '\x1f3fea42f6393f40b7be4ab8553d6cbdccbc2338133c59b952387c2f133e3896');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000021', 'b', '\xec3b3abbebb130ae8e3ca33804ba75392a3a25af1fb434b2c8be0a328233edba');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000022', 'b', '\x7c43823e6ab89ab7f33f66be8038893b0b36ba3c03bc8fc0223ac9bc39b5b7bc');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000023', 'b', '\x363cec3ac3b93a3bc32f76b0592b7db2ec38f73497b5063ce4b89734c136ea3d');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000024', 'b', '\x0bb8be44a33135b261b9b138442a6abc83bc72b868b95c3c813df33aba35dab6');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000025', 'b', '\xf92a143b43404e3b7db4de28b9b742bae5b14232583fa92a6e3d123f0b2d6e3e');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000026', 'b', '\x6e432a413e34db256fb35cb29d30f23614bbcea017be2c34fd383f319334b838');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000027', 'b', '\x52b9a6b31638023c52361b41d9adff3b113d48b090babbbc3131713c59348831');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000028', 'b', '\x3e411f4346c0703333277bbd5a408dbd4fbccebc713c1bbb5939b33828343bbd');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000029', 'b', '\xe6b8b13e2abda7ba31b1793a0734f03945bc8f3b8d3861be293e964026ba202b');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000030', 'b', '\x6644133ef6bf30bd89b8a1b8dc384c34fcbc8a387f3fca3cee3b2a25de3bbbbb');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000031', 'b', '\x814395ad863c75375cbc1930df3c84bc79b826bafcbdb13b3e3d663ac333a9aa');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000032', 'b', '\x7b428940273b2f3c763b3fb8052d4eb1283fc03187bf6036873f7b39093b9e28');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000033', 'b', '\xe3bf3ebffcbc0fb0f634843973b5a83b7ab4a3b9d03a51bb75c13dbc072e29c2');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000034', 'b', '\x49415641b5bdeebd66b760b80a3dff3553bed6baa439953f2f36f934713fcea5');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000035', 'b', '\xf2b4a7bd1bb85c40b0bdbb21a2bd1c301a3bccb3d839c4392737dd3e3b3ae1b4');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000036', 'b', '\xa3404f409d372eb575415f3fddb244b5c33e89bf3ab79b3b4cbba1b79eb54939');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000037', 'b', '\x67306f36c338aa27713cd5b9bfbd1cbf7cbe67b81f3c9331cab848bc3bb875b6');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000038', 'b', '\xdf40453e9db7123c59c0b3b33ec0dc31fbb92cc0722e453ff82ea63c94ac51c0');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000039', 'b', '\xfb42b1b6d9bd473a973434b8f23afaba263986bb463867bcf53d1234bb3d94ba');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000040', 'b', '\x0c41ae437dc144bc223c7137d53bf5b48338d9b97dbdc7be6ab864b809b919c3');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000041', 'b', '\xffbf43b89834a1b804bb9ec00b4068bcbc3e3e3e623495b83b309dbc2c340c1a');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000042', 'b', '\x1043e743ee3e37b62c3c55ba28bbf2b8dbbbd83b633b173d7aa66434a1b89bbc');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000043', 'b', '\x27374b346ebcaf38f8bebab10bb93cb855bc9f3b8738bc3c2d3031bd10b6c4bc');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000044', 'b', '\x263733440f35e6b822b61832d7bd4f30df317bb8f2b6ec30b5bab9ba143a8232');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000045', 'b', '\xa23e08bc34bf5a3b793b19baf9bd9fac1dbfe7b56cc04ab44dc04db4f03dd0b4');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000046', 'b', '\x7843a5406ebb24be023c35ae543ee1bc3eb4a228793d1c3f8fb9b9bc23bf283d');
INSERT INTO public.vectors VALUES ('0000000000000000000000000000000000000000000000000000000000000047', 'b', '\x5ab094b97eae38c11bbf123b8135472e37bc4838e73e1cbde3a8d0b7ec340ca9');
SELECT pg_catalog.setval('public.audit_id_seq', 1, true);
SELECT pg_catalog.setval('public.events_id_seq', 2, true);
SELECT pg_catalog.setval('public.items_id_seq', 48, true);
SELECT pg_catalog.setval('public.projects_id_seq', 1, true);
ALTER TABLE ONLY public.annotators
    ADD CONSTRAINT annotators_pkey PRIMARY KEY (project, email);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.copies
    ADD CONSTRAINT copies_pkey PRIMARY KEY (project, item, annotator);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.facts
    ADD CONSTRAINT facts_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_project_id_key UNIQUE (project, id);
ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_project_task_key UNIQUE (project, task);
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_pkey PRIMARY KEY (project, annotation);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_studio_url_pool_project_key UNIQUE (studio_url, pool_project);
ALTER TABLE ONLY public.rounds
    ADD CONSTRAINT rounds_pkey PRIMARY KEY (project, number);
ALTER TABLE ONLY public.selections
    ADD CONSTRAINT selections_pkey PRIMARY KEY (project, item);
ALTER TABLE ONLY public.selections
    ADD CONSTRAINT selections_project_rank_key UNIQUE (project, rank);
ALTER TABLE ONLY public.trainings
    ADD CONSTRAINT trainings_pkey PRIMARY KEY (project, number);
ALTER TABLE ONLY public.vectors
    ADD CONSTRAINT vectors_pkey PRIMARY KEY (content_hash, backbone);
CREATE INDEX audit_by_project ON public.audit USING btree (project, id);
CREATE INDEX events_open ON public.events USING btree (handled_at);
CREATE INDEX labels_by_item ON public.labels USING btree (project, item);
ALTER TABLE ONLY public.annotators
    ADD CONSTRAINT annotators_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.copies
    ADD CONSTRAINT copies_item_fkey FOREIGN KEY (item) REFERENCES public.items(id);
ALTER TABLE ONLY public.copies
    ADD CONSTRAINT copies_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.copies
    ADD CONSTRAINT copies_project_item_fkey FOREIGN KEY (project, item) REFERENCES public.selections(project, item);
ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_item_fkey FOREIGN KEY (item) REFERENCES public.items(id);
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.rounds
    ADD CONSTRAINT rounds_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.selections
    ADD CONSTRAINT selections_item_fkey FOREIGN KEY (item) REFERENCES public.items(id);
ALTER TABLE ONLY public.selections
    ADD CONSTRAINT selections_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
ALTER TABLE ONLY public.selections
    ADD CONSTRAINT selections_project_round_fkey FOREIGN KEY (project, round) REFERENCES public.rounds(project, number);
ALTER TABLE ONLY public.trainings
    ADD CONSTRAINT trainings_project_fkey FOREIGN KEY (project) REFERENCES public.projects(id);
