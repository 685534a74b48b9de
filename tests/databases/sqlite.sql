BEGIN TRANSACTION;
CREATE TABLE annotators (
	project INTEGER NOT NULL, 
	email VARCHAR(200) NOT NULL, 
	user INTEGER, 
	queue_project INTEGER, 
	PRIMARY KEY (project, email), 
	FOREIGN KEY(project) REFERENCES projects (id)
);
INSERT INTO "annotators" VALUES(1,'ann@example.org',7,51);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	project INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	who VARCHAR(200) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	old JSON, 
	old_source VARCHAR(40), 
	new JSON, 
	new_source VARCHAR(40), 
	PRIMARY KEY (id), 
	FOREIGN KEY(project) REFERENCES projects (id)
);
INSERT INTO "audit" VALUES(1,1,1.7956423506213371753e+09,'dr@example.org','start_training',NULL,NULL,NULL,NULL);
CREATE TABLE copies (
	project INTEGER NOT NULL, 
	item INTEGER NOT NULL, 
	annotator VARCHAR(200) NOT NULL, 
	rank INTEGER NOT NULL, 
	queue_task INTEGER NOT NULL, 
	predicted_by VARCHAR(100), 
	PRIMARY KEY (project, item, annotator), 
	FOREIGN KEY(project, item) REFERENCES selections (project, item), 
	FOREIGN KEY(project) REFERENCES projects (id), 
	FOREIGN KEY(item) REFERENCES items (id)
);
INSERT INTO "copies" VALUES(1,4,'ann@example.org',25,990,NULL);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	source INTEGER, 
	action VARCHAR(100) NOT NULL, 
	payload JSON NOT NULL, 
	received_at FLOAT NOT NULL, 
	handled_at FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,4,'ANNOTATION_CREATED','{"tasks": [905]}',1.79564235062054061891e+09,NULL);
INSERT INTO "events" VALUES(2,3,'START_TRAINING','{"who": "dr@example.org"}',1.7956423506213371753e+09,NULL);
CREATE TABLE facts (
	name VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "facts" VALUES('label_studio','{"reachable": true, "problem": null}');
CREATE TABLE items (
	id INTEGER NOT NULL, 
	project INTEGER NOT NULL, 
	task INTEGER NOT NULL, 
	data JSON NOT NULL, 
	image TEXT NOT NULL, 
	content_hash VARCHAR(64), 
	problem TEXT, 
	retry_at FLOAT NOT NULL, 
	attempts INTEGER NOT NULL, 
	gone BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (project, task), 
	UNIQUE (project, id), 
	FOREIGN KEY(project) REFERENCES projects (id)
);
INSERT INTO "items" VALUES(1,1,100,'{"image": "/0.jpg", "site": "north", "id": "x0"}','/0.jpg','0000000000000000000000000000000000000000000000000000000000000000',NULL,0.0,0,0);
INSERT INTO "items" VALUES(2,1,101,'{"image": "/1.jpg", "site": "south", "id": "x1"}','/1.jpg','0000000000000000000000000000000000000000000000000000000000000001',NULL,0.0,0,0);
INSERT INTO "items" VALUES(3,1,102,'{"image": "/2.jpg", "site": "north", "id": "x2"}','/2.jpg','0000000000000000000000000000000000000000000000000000000000000002',NULL,0.0,0,0);
INSERT INTO "items" VALUES(4,1,103,'{"image": "/3.jpg", "site": "south", "id": "x3"}','/3.jpg','0000000000000000000000000000000000000000000000000000000000000003',NULL,0.0,0,0);
INSERT INTO "items" VALUES(5,1,104,'{"image": "/4.jpg", "site": "north", "id": "x4"}','/4.jpg','0000000000000000000000000000000000000000000000000000000000000004',NULL,0.0,0,0);
INSERT INTO "items" VALUES(6,1,105,'{"image": "/5.jpg", "site": "south", "id": "x5"}','/5.jpg','0000000000000000000000000000000000000000000000000000000000000005',NULL,0.0,0,0);
INSERT INTO "items" VALUES(7,1,106,'{"image": "/6.jpg", "site": "south", "id": "x6"}','/6.jpg','0000000000000000000000000000000000000000000000000000000000000006',NULL,0.0,0,0);
INSERT INTO "items" VALUES(8,1,107,'{"image": "/7.jpg", "site": "south", "id": "x7"}','/7.jpg','0000000000000000000000000000000000000000000000000000000000000007',NULL,0.0,0,0);
INSERT INTO "items" VALUES(9,1,108,'{"image": "/8.jpg", "site": "north", "id": "x8"}','/8.jpg','0000000000000000000000000000000000000000000000000000000000000008',NULL,0.0,0,0);
INSERT INTO "items" VALUES(10,1,109,'{"image": "/9.jpg", "site": "north", "id": "x9"}','/9.jpg','0000000000000000000000000000000000000000000000000000000000000009',NULL,0.0,0,0);
INSERT INTO "items" VALUES(11,1,110,'{"image": "/10.jpg", "site": "north", "id": "x10"}','/10.jpg','0000000000000000000000000000000000000000000000000000000000000010',NULL,0.0,0,0);
INSERT INTO "items" VALUES(12,1,111,'{"image": "/11.jpg", "site": "south", "id": "x11"}','/11.jpg','0000000000000000000000000000000000000000000000000000000000000011',NULL,0.0,0,0);
INSERT INTO "items" VALUES(13,1,112,'{"image": "/12.jpg", "site": "north", "id": "x12"}','/12.jpg','0000000000000000000000000000000000000000000000000000000000000012',NULL,0.0,0,0);
INSERT INTO "items" VALUES(14,1,113,'{"image": "/13.jpg", "site": "south", "id": "x13"}','/13.jpg','0000000000000000000000000000000000000000000000000000000000000013',NULL,0.0,0,0);
INSERT INTO "items" VALUES(15,1,114,'{"image": "/14.jpg", "site": "north", "id": "x14"}','/14.jpg','0000000000000000000000000000000000000000000000000000000000000014',NULL,0.0,0,0);
INSERT INTO "items" VALUES(16,1,115,'{"image": "/15.jpg", "site": "south", "id": "x15"}','/15.jpg','0000000000000000000000000000000000000000000000000000000000000015',NULL,0.0,0,0);
INSERT INTO "items" VALUES(17,1,116,'{"image": "/16.jpg", "site": "north", "id": "x16"}','/16.jpg','0000000000000000000000000000000000000000000000000000000000000016',NULL,0.0,0,0);
INSERT INTO "items" VALUES(18,1,117,'{"image": "/17.jpg", "site": "south", "id": "x17"}','/17.jpg','0000000000000000000000000000000000000000000000000000000000000017',NULL,0.0,0,0);
INSERT INTO "items" VALUES(19,1,118,'{"image": "/18.jpg", "site": "north", "id": "x18"}','/18.jpg','0000000000000000000000000000000000000000000000000000000000000018',NULL,0.0,0,0);
INSERT INTO "items" VALUES(20,1,119,'{"image": "/19.jpg", "site": "south", "id": "x19"}','/19.jpg','0000000000000000000000000000000000000000000000000000000000000019',NULL,0.0,0,0);
INSERT INTO "items" VALUES(21,1,120,'{"image": "/20.jpg", "site": "north", "id": "x20"}','/20.jpg','0000000000000000000000000000000000000000000000000000000000000020',NULL,0.0,0,0);
INSERT INTO "items" VALUES(22,1,121,'{"image": "/21.jpg", "site": "south", "id": "x21"}','/21.jpg','0000000000000000000000000000000000000000000000000000000000000021',NULL,0.0,0,0);
INSERT INTO "items" VALUES(23,1,122,'{"image": "/22.jpg", "site": "north", "id": "x22"}','/22.jpg','0000000000000000000000000000000000000000000000000000000000000022',NULL,0.0,0,0);
INSERT INTO "items" VALUES(24,1,123,'{"image": "/23.jpg", "site": "south", "id": "x23"}','/23.jpg','0000000000000000000000000000000000000000000000000000000000000023',NULL,0.0,0,0);
INSERT INTO "items" VALUES(25,1,124,'{"image": "/24.jpg", "site": "south", "id": "x24"}','/24.jpg','0000000000000000000000000000000000000000000000000000000000000024',NULL,0.0,0,0);
INSERT INTO "items" VALUES(26,1,125,'{"image": "/25.jpg", "site": "south", "id": "x25"}','/25.jpg','0000000000000000000000000000000000000000000000000000000000000025',NULL,0.0,0,0);
INSERT INTO "items" VALUES(27,1,126,'{"image": "/26.jpg", "site": "north", "id": "x26"}','/26.jpg','0000000000000000000000000000000000000000000000000000000000000026',NULL,0.0,0,0);
INSERT INTO "items" VALUES(28,1,127,'{"image": "/27.jpg", "site": "south", "id": "x27"}','/27.jpg','0000000000000000000000000000000000000000000000000000000000000027',NULL,0.0,0,0);
INSERT INTO "items" VALUES(29,1,128,'{"image": "/28.jpg", "site": "north", "id": "x28"}','/28.jpg','0000000000000000000000000000000000000000000000000000000000000028',NULL,0.0,0,0);
INSERT INTO "items" VALUES(30,1,129,'{"image": "/29.jpg", "site": "south", "id": "x29"}','/29.jpg','0000000000000000000000000000000000000000000000000000000000000029',NULL,0.0,0,0);
INSERT INTO "items" VALUES(31,1,130,'{"image": "/30.jpg", "site": "north", "id": "x30"}','/30.jpg','0000000000000000000000000000000000000000000000000000000000000030',NULL,0.0,0,0);
INSERT INTO "items" VALUES(32,1,131,'{"image": "/31.jpg", "site": "north", "id": "x31"}','/31.jpg','0000000000000000000000000000000000000000000000000000000000000031',NULL,0.0,0,0);
INSERT INTO "items" VALUES(33,1,132,'{"image": "/32.jpg", "site": "north", "id": "x32"}','/32.jpg','0000000000000000000000000000000000000000000000000000000000000032',NULL,0.0,0,0);
INSERT INTO "items" VALUES(34,1,133,'{"image": "/33.jpg", "site": "south", "id": "x33"}','/33.jpg','0000000000000000000000000000000000000000000000000000000000000033',NULL,0.0,0,0);
INSERT INTO "items" VALUES(35,1,134,'{"image": "/34.jpg", "site": "north", "id": "x34"}','/34.jpg','0000000000000000000000000000000000000000000000000000000000000034',NULL,0.0,0,0);
INSERT INTO "items" VALUES(36,1,135,'{"image": "/35.jpg", "site": "south", "id": "x35"}','/35.jpg','0000000000000000000000000000000000000000000000000000000000000035',NULL,0.0,0,0);
INSERT INTO "items" VALUES(37,1,136,'{"image": "/36.jpg", "site": "north", "id": "x36"}','/36.jpg','0000000000000000000000000000000000000000000000000000000000000036',NULL,0.0,0,0);
INSERT INTO "items" VALUES(38,1,137,'{"image": "/37.jpg", "site": "south", "id": "x37"}','/37.jpg','0000000000000000000000000000000000000000000000000000000000000037',NULL,0.0,0,0);
INSERT INTO "items" VALUES(39,1,138,'{"image": "/38.jpg", "site": "north", "id": "x38"}','/38.jpg','0000000000000000000000000000000000000000000000000000000000000038',NULL,0.0,0,0);
INSERT INTO "items" VALUES(40,1,139,'{"image": "/39.jpg", "site": "north", "id": "x39"}','/39.jpg','0000000000000000000000000000000000000000000000000000000000000039',NULL,0.0,0,0);
INSERT INTO "items" VALUES(41,1,140,'{"image": "/40.jpg", "site": "north", "id": "x40"}','/40.jpg','0000000000000000000000000000000000000000000000000000000000000040',NULL,0.0,0,0);
INSERT INTO "items" VALUES(42,1,141,'{"image": "/41.jpg", "site": "south", "id": "x41"}','/41.jpg','0000000000000000000000000000000000000000000000000000000000000041',NULL,0.0,0,0);
INSERT INTO "items" VALUES(43,1,142,'{"image": "/42.jpg", "site": "north", "id": "x42"}','/42.jpg','0000000000000000000000000000000000000000000000000000000000000042',NULL,0.0,0,0);
INSERT INTO "items" VALUES(44,1,143,'{"image": "/43.jpg", "site": "south", "id": "x43"}','/43.jpg','0000000000000000000000000000000000000000000000000000000000000043',NULL,0.0,0,0);
INSERT INTO "items" VALUES(45,1,144,'{"image": "/44.jpg", "site": "south", "id": "x44"}','/44.jpg','0000000000000000000000000000000000000000000000000000000000000044',NULL,0.0,0,0);
INSERT INTO "items" VALUES(46,1,145,'{"image": "/45.jpg", "site": "south", "id": "x45"}','/45.jpg','0000000000000000000000000000000000000000000000000000000000000045',NULL,0.0,0,0);
INSERT INTO "items" VALUES(47,1,146,'{"image": "/46.jpg", "site": "north", "id": "x46"}','/46.jpg','0000000000000000000000000000000000000000000000000000000000000046',NULL,0.0,0,0);
INSERT INTO "items" VALUES(48,1,147,'{"image": "/47.jpg", "site": "south", "id": "x47"}','/47.jpg','0000000000000000000000000000000000000000000000000000000000000047','404: no such file',0.0,1,0);
CREATE TABLE labels (
	project INTEGER NOT NULL, 
	annotation INTEGER NOT NULL, 
	source INTEGER NOT NULL, 
	item INTEGER NOT NULL, 
	label TEXT, 
	problem TEXT, 
	skipped BOOLEAN NOT NULL, 
	annotator VARCHAR(200) NOT NULL, 
	updated_at VARCHAR(40) NOT NULL, 
	PRIMARY KEY (project, annotation), 
	FOREIGN KEY(project) REFERENCES projects (id), 
	FOREIGN KEY(item) REFERENCES items (id)
);
INSERT INTO "labels" VALUES(1,33,4,33,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,36,4,36,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,5,4,5,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,41,4,41,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,10,4,10,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,46,4,46,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,16,4,16,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,18,4,18,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,19,4,19,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,22,4,22,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,25,4,25,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,29,4,29,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,4,4,4,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,6,4,6,'benign',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,9,4,9,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,11,4,11,'malignant',NULL,0,'1','2026-01-01');
INSERT INTO "labels" VALUES(1,15,4,15,'malignant',NULL,0,'1','2026-01-01');
CREATE TABLE leases (
	name VARCHAR(200) NOT NULL, 
	holder VARCHAR(200) NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('project:1','gone:1:abc',1.79564241064171218869e+09);
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	studio_url VARCHAR(500) NOT NULL, 
	pool_project INTEGER NOT NULL, 
	queue_project INTEGER, 
	backend_url TEXT NOT NULL, 
	title TEXT NOT NULL, 
	label_config TEXT NOT NULL, 
	layers JSON NOT NULL, 
	problems JSON NOT NULL, 
	activity JSON NOT NULL, 
	pool_version INTEGER NOT NULL, 
	pool_synced_at FLOAT NOT NULL, 
	queue_synced_at FLOAT NOT NULL, 
	backbone VARCHAR(64) NOT NULL, 
	report JSON, 
	report_key VARCHAR(64) NOT NULL, 
	exhausted_key VARCHAR(64) DEFAULT '' NOT NULL, 
	champion VARCHAR(100), 
	least_labels INTEGER DEFAULT '0' NOT NULL, 
	described JSON, 
	PRIMARY KEY (id), 
	UNIQUE (studio_url, pool_project)
);
INSERT INTO "projects" VALUES(1,'http://studio',3,4,'','','<View>
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
','{"extra parameters": {"budget": 30, "round_size": 12, "retrain_every": 1000}}','{"metadata": ["no task has a metadata field ''ward''"]}','{"step": "selecting the next round", "done": 0, "total": 12}',1,0.0,0.0,'b','{"confounders": ["site"], "findings": [{"variable": "site", "verdict": "confounder", "sentence": "site can mislead a model (a probe tells its levels apart with AUROC 0.99; Cram\u00e9r''s V with clusters of the images 0.43).", "levels": 2, "encoded": 0.9895833333333334, "encoded_p": 0.0025, "encoded_interval": [0.9373154606347952, 1.0], "associated": 0.43323925957679243, "associated_p": 0.015, "associated_interval": [0.0, 0.7650329306005372], "associated_with": "clusters", "associated_class": null, "dependence": null, "dependence_p": null}, {"variable": "id", "verdict": "left out", "sentence": "id identifies: 48 different values in 48 items.", "levels": 48, "encoded": null, "encoded_p": null, "encoded_interval": null, "associated": null, "associated_p": null, "associated_interval": null, "associated_with": "clusters", "associated_class": null, "dependence": null, "dependence_p": null}], "latent": []}','c40220a4720ac2e5b0b5924e71cb85b6','','cdsel-3-v1',0,NULL);
CREATE TABLE rounds (
	project INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	strategy VARCHAR(100) NOT NULL, 
	seed INTEGER NOT NULL, 
	model_version VARCHAR(100), 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (project, number), 
	FOREIGN KEY(project) REFERENCES projects (id)
);
INSERT INTO "rounds" VALUES(1,1,'confounder_aware',1,NULL,1.79564234279075860978e+09);
INSERT INTO "rounds" VALUES(1,2,'confounder_aware',2,'cdsel-3-v1',1.79564235053760695454e+09);
CREATE TABLE selections (
	project INTEGER NOT NULL, 
	item INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	rank INTEGER NOT NULL, 
	gain FLOAT NOT NULL, 
	sentence TEXT NOT NULL, 
	reason JSON NOT NULL, 
	queue_task INTEGER, 
	predicted_by VARCHAR(100), 
	annotator VARCHAR(200) DEFAULT '' NOT NULL, 
	PRIMARY KEY (project, item), 
	UNIQUE (project, rank), 
	FOREIGN KEY(project, round) REFERENCES rounds (project, number), 
	FOREIGN KEY(project) REFERENCES projects (id), 
	FOREIGN KEY(item) REFERENCES items (id)
);
INSERT INTO "selections" VALUES(1,33,1,1,3.82067609867807134182e-01,'Site north: image 1 of 6 due this round; stands for 15 images that look like it.','{"stratum": "site north", "due": 6.0, "got": 1, "covers": 15, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 1 of 6 due this round; stands for 15 images that look like it.", "levels": {"site": "north"}}',901,NULL,'');
INSERT INTO "selections" VALUES(1,10,1,2,2.3387919277034277532e-01,'Site north: image 2 of 6 due this round; stands for 9 images that look like it.','{"stratum": "site north", "due": 6.0, "got": 2, "covers": 9, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 2 of 6 due this round; stands for 9 images that look like it.", "levels": {"site": "north"}}',902,NULL,'');
INSERT INTO "selections" VALUES(1,46,1,3,2.26943846519610054057e-01,'Site south: image 1 of 6 due this round; stands for 9 images that look like it.','{"stratum": "site south", "due": 6.0, "got": 1, "covers": 9, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 1 of 6 due this round; stands for 9 images that look like it.", "levels": {"site": "south"}}',903,NULL,'');
INSERT INTO "selections" VALUES(1,19,1,4,1.6805015250100227564e-01,'Site north: image 3 of 6 due this round; stands for 10 images that look like it.','{"stratum": "site north", "due": 6.0, "got": 3, "covers": 10, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 3 of 6 due this round; stands for 10 images that look like it.", "levels": {"site": "north"}}',904,NULL,'');
INSERT INTO "selections" VALUES(1,36,1,5,1.65376483093237214294e-01,'Site south: image 2 of 6 due this round; stands for 9 images that look like it.','{"stratum": "site south", "due": 6.0, "got": 2, "covers": 9, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 2 of 6 due this round; stands for 9 images that look like it.", "levels": {"site": "south"}}',905,NULL,'');
INSERT INTO "selections" VALUES(1,16,1,6,0.0,'Drawn at random from all images, to tell what the whole pool is like.','{"stratum": "site south", "due": 6.0, "got": 3, "covers": 0, "uncertainty": null, "drawn_at_random": true, "by_chance": false, "sentence": "Drawn at random from all images, to tell what the whole pool is like.", "levels": {"site": "south"}}',906,NULL,'');
INSERT INTO "selections" VALUES(1,41,1,7,1.34272595154412033302e-01,'Site north: image 4 of 6 due this round; stands for 7 images that look like it.','{"stratum": "site north", "due": 6.0, "got": 4, "covers": 7, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 4 of 6 due this round; stands for 7 images that look like it.", "levels": {"site": "north"}}',907,NULL,'');
INSERT INTO "selections" VALUES(1,18,1,8,1.26808756870197686383e-01,'Site south: image 4 of 6 due this round; stands for 5 images that look like it.','{"stratum": "site south", "due": 6.0, "got": 4, "covers": 5, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 4 of 6 due this round; stands for 5 images that look like it.", "levels": {"site": "south"}}',908,NULL,'');
INSERT INTO "selections" VALUES(1,5,1,9,1.06069845898601744504e-01,'Site north: image 5 of 6 due this round; stands for 4 images that look like it.','{"stratum": "site north", "due": 6.0, "got": 5, "covers": 4, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 5 of 6 due this round; stands for 4 images that look like it.", "levels": {"site": "north"}}',909,NULL,'');
INSERT INTO "selections" VALUES(1,22,1,10,1.03257627977583144041e-01,'Site south: image 5 of 6 due this round; stands for 4 images that look like it.','{"stratum": "site south", "due": 6.0, "got": 5, "covers": 4, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 5 of 6 due this round; stands for 4 images that look like it.", "levels": {"site": "south"}}',910,NULL,'');
INSERT INTO "selections" VALUES(1,29,1,11,9.05139440648383419851e-02,'Site north: image 6 of 6 due this round; stands for 5 images that look like it.','{"stratum": "site north", "due": 6.0, "got": 6, "covers": 5, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 6 of 6 due this round; stands for 5 images that look like it.", "levels": {"site": "north"}}',911,NULL,'');
INSERT INTO "selections" VALUES(1,25,1,12,8.76958321136858676148e-02,'Site south: image 6 of 6 due this round; unlike the images chosen before it.','{"stratum": "site south", "due": 6.0, "got": 6, "covers": 1, "uncertainty": null, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 6 of 6 due this round; unlike the images chosen before it.", "levels": {"site": "south"}}',912,NULL,'');
INSERT INTO "selections" VALUES(1,35,2,13,8.15694842047532259199e-02,'Site north: image 1 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.','{"stratum": "site north", "due": 6.0, "got": 1, "covers": 2, "uncertainty": 0.9969598060348113, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 1 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "north"}}',913,NULL,'');
INSERT INTO "selections" VALUES(1,30,2,14,8.1311287221119327162e-02,'Site south: image 1 of 6 due this round; the model is not yet sure of such images.','{"stratum": "site south", "due": 6.0, "got": 1, "covers": 1, "uncertainty": 0.9981882045280199, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 1 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "south"}}',914,NULL,'');
INSERT INTO "selections" VALUES(1,15,2,15,0.0,'Drawn at random from all images, to tell what the whole pool is like.','{"stratum": "site north", "due": 6.0, "got": 2, "covers": 0, "uncertainty": 0.9821597541511407, "drawn_at_random": true, "by_chance": false, "sentence": "Drawn at random from all images, to tell what the whole pool is like.", "levels": {"site": "north"}}',915,NULL,'');
INSERT INTO "selections" VALUES(1,37,2,16,7.50908373689955221941e-02,'Site north: image 3 of 6 due this round; the model is not yet sure of such images.','{"stratum": "site north", "due": 6.0, "got": 3, "covers": 1, "uncertainty": 0.9985437373228645, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 3 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "north"}}',916,NULL,'');
INSERT INTO "selections" VALUES(1,4,2,17,7.492782568235936691e-02,'Site south: image 2 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.','{"stratum": "site south", "due": 6.0, "got": 2, "covers": 2, "uncertainty": 0.9917436794051451, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 2 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "south"}}',917,NULL,'');
INSERT INTO "selections" VALUES(1,11,2,18,0.0696758288400431,'Site north: image 4 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.','{"stratum": "site north", "due": 6.0, "got": 4, "covers": 2, "uncertainty": 0.9830563623080801, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 4 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "north"}}',918,NULL,'');
INSERT INTO "selections" VALUES(1,6,2,19,6.96048781685713602307e-02,'Site south: image 3 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.','{"stratum": "site south", "due": 6.0, "got": 3, "covers": 2, "uncertainty": 0.9930470015534598, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 3 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "south"}}',919,NULL,'');
INSERT INTO "selections" VALUES(1,40,2,20,6.55052184583348323654e-02,'Site north: image 5 of 6 due this round; the model is not yet sure of such images.','{"stratum": "site north", "due": 6.0, "got": 5, "covers": 1, "uncertainty": 0.9795251064407968, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 5 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "north"}}',920,NULL,'');
INSERT INTO "selections" VALUES(1,26,2,21,0.0,'Drawn at random from all images, to tell what the whole pool is like.','{"stratum": "site south", "due": 6.0, "got": 4, "covers": 0, "uncertainty": 0.9948615201098827, "drawn_at_random": true, "by_chance": false, "sentence": "Drawn at random from all images, to tell what the whole pool is like.", "levels": {"site": "south"}}',921,NULL,'');
INSERT INTO "selections" VALUES(1,38,2,22,6.51993961837253471758e-02,'Site south: image 5 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.','{"stratum": "site south", "due": 6.0, "got": 5, "covers": 2, "uncertainty": 0.964615291745593, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 5 of 6 due this round; stands for 2 images that look like it; the model is not yet sure of such images.", "levels": {"site": "south"}}',922,NULL,'');
INSERT INTO "selections" VALUES(1,9,2,23,6.19669602925763951528e-02,'Site north: image 6 of 6 due this round; stands for 3 images that look like it; the model is not yet sure of such images.','{"stratum": "site north", "due": 6.0, "got": 6, "covers": 3, "uncertainty": 0.9740092532568392, "drawn_at_random": false, "by_chance": false, "sentence": "Site north: image 6 of 6 due this round; stands for 3 images that look like it; the model is not yet sure of such images.", "levels": {"site": "north"}}',923,NULL,'');
INSERT INTO "selections" VALUES(1,42,2,24,6.15702833682858358121e-02,'Site south: image 6 of 6 due this round; the model is not yet sure of such images.','{"stratum": "site south", "due": 6.0, "got": 6, "covers": 1, "uncertainty": 0.9591208507130811, "drawn_at_random": false, "by_chance": false, "sentence": "Site south: image 6 of 6 due this round; the model is not yet sure of such images.", "levels": {"site": "south"}}',924,NULL,'');
CREATE TABLE trainings (
	project INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	version VARCHAR(100), 
	round INTEGER NOT NULL, 
	labels JSON NOT NULL, 
	outcome TEXT NOT NULL, 
	metrics JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (project, number), 
	FOREIGN KEY(project) REFERENCES projects (id)
);
INSERT INTO "trainings" VALUES(1,1,'cdsel-3-v1',1,'{"5": "malignant", "10": "benign", "16": "benign", "18": "benign", "19": "malignant", "22": "benign", "25": "malignant", "29": "malignant", "33": "malignant", "36": "benign", "41": "malignant", "46": "benign"}','promoted','{"n": 4, "accuracy": null, "balanced_accuracy": null, "group_balanced_accuracy": null, "worst_group_accuracy": null, "worst_group": null, "groups": [{"group": "malignant, site north", "n": 1, "accuracy": 1.0, "unreliable": true, "patients": 1}, {"group": "benign, site south", "n": 3, "accuracy": 0.6666666666666666, "unreliable": true, "patients": 3}], "within_group_auc": null, "calibration_error": null, "intervals": {}, "reasons": {"accuracy": "only 4 held-out labels; 15 are needed", "balanced_accuracy": "too few held-out labels of some class", "group_balanced_accuracy": "fewer than two groups have 15 held-out labels", "worst_group_accuracy": "fewer than two groups have 15 held-out labels", "within_group_auc": "no group holds enough of two classes", "calibration_error": "fewer than two groups have 15 held-out labels"}, "fine_tune": {"asked": "auto", "taken": false, "why": "there is no GPU"}, "insight": {"random_share": {"n": 1, "error": null, "prevalence": null, "words": "Too few yet: 1 of the 15 labels due were drawn by chance."}, "curve": {"asked": 12, "sizes": [6], "tested": 12, "ahead": [], "curves": {}, "worth": "cannot tell", "words": "Cannot tell yet: 8 of the 40 labels due can be trained on."}, "saved": "How many labels the choice of images saves against chance cannot be told: 1 of the 100 labels due to train on were drawn by chance. `cdsel simulate` tells it on labelled images.", "suspects": []}}',1.79564235038338327406e+09);
CREATE TABLE vectors (
	content_hash VARCHAR(64) NOT NULL, 
	backbone VARCHAR(64) NOT NULL, 
	vector BLOB NOT NULL, 
	PRIMARY KEY (content_hash, backbone)
);
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000000','b',X'FD403043213B22358CBADA3903B8093B4ABC513B23A5FFBC06B5ED2A5D34DCBB');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000001','b',X'6EBC633278B78933133A98BE1234E63CC3B47DBA053A0E342B3B86B5EDBD0AAF');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000002','b',X'1C418D43323286BEC8BC123B70391FB94C9421377F37033B1B3412AE24B4393C');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000003','b',X'80C070B03928B4BD533536B9E63A05B05A39E03C203601BB0FBE033F1FAF82B9');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000004','b',X'4A429E41D13A58280A23B7B9833723BC5439193E19BEEFC0EF38194101BC01BD');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000005','b',X'B638BABA0CB892B542387CB67234A6B1C2BA1EB59ABBAC1E7FBC5FBCD43DCFAA');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000006','b',X'E6AA0643BCB650B3CD368534A3BCAB3AB9B839BC34BB40B6823EB4BC1F3147C0');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000007','b',X'6B96323B93B309B969339A394F39E43FB132BDB808B0A4ACF62EB0A79131AFBE');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000008','b',X'A943DA40B1BC1A39453DE337283175BBBE410B3B8FBC3DBA912D38BE653158B7');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000009','b',X'3A44B23B6CC1572978BE703C6131633843BC503F0A4042BCF73563B909A610BD');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000010','b',X'DE441040BDB403382EB9A8B382B845B0AFBC02B79FB257B5422BB1B4073A2CB5');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000011','b',X'5FB051B936B80FBD263892BCF8B9BF35713667B60AC0BA362734A6BD2A3A9CB9');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000012','b',X'7F3F3142B6B17C326CBE403FD2B829BEF338ADB533356FB5A6ABDD33F9B96E39');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000013','b',X'85B7F5BAEE2C1F3755B3E6BAF5380BBF20BC0F2972BD2B2706AB313B51BB02B9');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000014','b',X'AB425738334297B9D7B9E43A19A91EBF0439D83A33B781B4C73745BB04376132');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000015','b',X'66B992BD38B301BB013C9C30423A4F30353444BA5839243FF4B4BEB80DB1B3B7');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000016','b',X'99404742A8B4C13D9C0A2F359E3BD0B4BF3D10B977BADCB558AF9BBD7EA8ACBE');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000017','b',X'923D2FAD23B944BB27B623B32EBC5CBBFDB12BB8843B8D3C1A24943757BD1939');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000018','b',X'F041F842673E90C02D3465BCBD3841BDEDB77D32E838C92C58BA6EB8133BA29D');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000019','b',X'BCBEC03AA936FD3A63B5A03A3FBC8F38D9B76539063CE3B98FAAFC28C23CAF39');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000020','b',X'1F3FEA42F6393F40B7BE4AB8553D6CBDCCBC2338133C59B952387C2F133E3896');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000021','b',X'EC3B3ABBEBB130AE8E3CA33804BA75392A3A25AF1FB434B2C8BE0A328233EDBA');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000022','b',X'7C43823E6AB89AB7F33F66BE8038893B0B36BA3C03BC8FC0223AC9BC39B5B7BC');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000023','b',X'363CEC3AC3B93A3BC32F76B0592B7DB2EC38F73497B5063CE4B89734C136EA3D');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000024','b',X'0BB8BE44A33135B261B9B138442A6ABC83BC72B868B95C3C813DF33ABA35DAB6');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000025','b',X'F92A143B43404E3B7DB4DE28B9B742BAE5B14232583FA92A6E3D123F0B2D6E3E');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000026','b',X'6E432A413E34DB256FB35CB29D30F23614BBCEA017BE2C34FD383F319334B838');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000027','b',X'52B9A6B31638023C52361B41D9ADFF3B113D48B090BABBBC3131713C59348831');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000028','b',X'3E411F4346C0703333277BBD5A408DBD4FBCCEBC713C1BBB5939B33828343BBD');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000029','b',X'E6B8B13E2ABDA7BA31B1793A0734F03945BC8F3B8D3861BE293E964026BA202B');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000030','b',X'6644133EF6BF30BD89B8A1B8DC384C34FCBC8A387F3FCA3CEE3B2A25DE3BBBBB');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000031','b',X'814395AD863C75375CBC1930DF3C84BC79B826BAFCBDB13B3E3D663AC333A9AA');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000032','b',X'7B428940273B2F3C763B3FB8052D4EB1283FC03187BF6036873F7B39093B9E28');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000033','b',X'E3BF3EBFFCBC0FB0F634843973B5A83B7AB4A3B9D03A51BB75C13DBC072E29C2');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000034','b',X'49415641B5BDEEBD66B760B80A3DFF3553BED6BAA439953F2F36F934713FCEA5');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000035','b',X'F2B4A7BD1BB85C40B0BDBB21A2BD1C301A3BCCB3D839C4392737DD3E3B3AE1B4');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000036','b',X'A3404F409D372EB575415F3FDDB244B5C33E89BF3AB79B3B4CBBA1B79EB54939');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000037','b',X'67306F36C338AA27713CD5B9BFBD1CBF7CBE67B81F3C9331CAB848BC3BB875B6');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000038','b',X'DF40453E9DB7123C59C0B3B33EC0DC31FBB92CC0722E453FF82EA63C94AC51C0');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000039','b',X'FB42B1B6D9BD473A973434B8F23AFABA263986BB463867BCF53D1234BB3D94BA');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000040','b',X'0C41AE437DC144BC223C7137D53BF5B48338D9B97DBDC7BE6AB864B809B919C3');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000041','b',X'FFBF43B89834A1B804BB9EC00B4068BCBC3E3E3E623495B83B309DBC2C340C1A');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000042','b',X'1043E743EE3E37B62C3C55BA28BBF2B8DBBBD83B633B173D7AA66434A1B89BBC');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000043','b',X'27374B346EBCAF38F8BEBAB10BB93CB855BC9F3B8738BC3C2D3031BD10B6C4BC');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000044','b',X'263733440F35E6B822B61832D7BD4F30DF317BB8F2B6EC30B5BAB9BA143A8232');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000045','b',X'A23E08BC34BF5A3B793B19BAF9BD9FAC1DBFE7B56CC04AB44DC04DB4F03DD0B4');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000046','b',X'7843A5406EBB24BE023C35AE543EE1BC3EB4A228793D1C3F8FB9B9BC23BF283D');
INSERT INTO "vectors" VALUES('0000000000000000000000000000000000000000000000000000000000000047','b',X'5AB094B97EAE38C11BBF123B8135472E37BC4838E73E1CBDE3A8D0B7EC340CA9');
CREATE INDEX events_open ON events (handled_at);
CREATE INDEX audit_by_project ON audit (project, id);
CREATE INDEX labels_by_item ON labels (project, item);
COMMIT;
