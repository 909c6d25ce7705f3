"""The nouns: German, gender (w: weak masculine), plural (-: never counted), English: tags."""

NOUN_TABLE = """
Mann m Männer man: adult elder person
Frau f Frauen woman: adult elder person fem
Kind n Kinder child: child person
Junge w Jungen boy: child person
Mädchen n Mädchen girl: child person
Arzt m Ärzte doctor: adult elder person job
Lehrerin f Lehrerinnen teacher: adult elder person job fem
Student w Studenten student: adult person job
Nachbar w Nachbarn neighbor: adult elder person own
Kollege w Kollegen colleague: adult elder person own
Gast m Gäste guest: adult elder person
Polizist w Polizisten policeman: adult elder person
Verkäuferin f Verkäuferinnen saleswoman: adult elder person fem
Bäcker m Bäcker baker: adult elder person job
Touristin f Touristinnen tourist: adult elder person fem
Bruder m Brüder brother: kin person adult
Schwester f Schwestern sister: kin person fem adult
Vater m - father: kin person adult
Mutter f - mother: kin person fem adult
Tante f Tanten aunt: kin person fem adult
Onkel m Onkel uncle: kin person adult
Großmutter f Großmütter grandmother: kin person fem adult
Großvater m Großväter grandfather: kin person adult
Sohn m Söhne son: kin person child
Tochter f Töchter daughter: kin person fem child
Hund m Hunde dog: animal pet size fur
Katze f Katzen cat: animal pet size fur
Pferd n Pferde horse: animal size fur
Kuh f Kühe cow: animal size
Vogel m Vögel bird: animal size
Apfel m Äpfel apple: food fruit size edible
Birne f Birnen pear: food fruit size edible
Banane f Bananen banana: food fruit edible
Tomate f Tomaten tomato: food fruit size cook edible
Ei n Eier egg: food cook edible
Kartoffel f Kartoffeln potato: food cook size
Brötchen n Brötchen bread_roll: food bake edible fresh
Kuchen m Kuchen cake: food bake dish edible sweet
Keks m Kekse cookie: food bake edible sweet
Suppe f Suppen soup: food dish cook edible hot
Salat m Salate salad: food dish edible fresh
Brot n - bread: food bake edible fresh
Käse m - cheese: food edible
Fleisch n - meat: food cook edible fresh
Fisch m - fish: food cook edible fresh
Reis m - rice: food cook edible
Gemüse n - vegetables: food cook edible fresh ens
Schokolade f - chocolate: food edible sweet
Wasser n - water: drink cold
Milch f - milk: drink cold hot
Kaffee m - coffee: drink hot
Tee m - tea: drink hot
Saft m - juice: drink cold sweet
Wein m - wine: alcohol
Bier n - beer: alcohol cold
Buch n Bücher book: goods small read lie gift text page age
Brief m Briefe letter: small read write lie text open send
Zeitung f Zeitungen newspaper: read lie buy age
Wörterbuch n Wörterbücher dictionary: goods small lie gift page age use
E-Mail f E-Mails email: write read text send
Bild n Bilder picture: goods gift size pretty paint hang
Foto n Fotos photo: small lie pretty look send hang bring
Schlüssel m Schlüssel key: small lie age use
Tasche f Taschen bag: goods small stand color size age pretty weight gift open
Koffer m Koffer suitcase: goods small stand color size age weight open
Regenschirm m Regenschirme umbrella: goods small color age use lie size bring
Handy n Handys cell_phone: goods small lie use fix age gift
Computer m Computer computer: goods use fix age stand bench
Kamera f Kameras camera: goods small use fix age lie gift bring
Stift m Stifte pen: goods small lie use color
Heft n Hefte notebook: goods small lie color
Fahrkarte f Fahrkarten ticket: small buy lie
Ball m Bälle ball: goods toy small color size gift bring
Puppe f Puppen doll: goods toy small gift pretty age
Geschenk n Geschenke gift: buy lie size pretty send open bring
Ring m Ringe ring: goods small gift pretty age lie
Blume f Blumen flower: buy gift color pretty bring
Auto n Autos car: goods vehicle fix wash color age size
Fahrrad n Fahrräder bicycle: goods vehicle fix wash color age gift bench
Tisch m Tische table: goods furniture fix color size age weight surface bench
Stuhl m Stühle chair: goods furniture fix color size age stand seat surface bench
Bett n Betten bed: goods furniture size age surface seat
Sofa n Sofas sofa: goods furniture color size age surface seat pretty
Schrank m Schränke cupboard: goods furniture color size age weight inside open
Regal n Regale shelf: goods furniture color size age surface
Lampe f Lampen lamp: goods furniture fix color size age pretty stand use bench
Spiegel m Spiegel mirror: goods furniture size age pretty hang
Teppich m Teppiche carpet: goods furniture color size age pretty surface
Messer n Messer knife: goods small lie kitchen use sharp
Gabel f Gabeln fork: goods small lie kitchen
Löffel m Löffel spoon: goods small lie kitchen size
Teller m Teller plate: goods stand kitchen color size wash
Tasse f Tassen cup: goods stand kitchen color size wash vessel
Glas n Gläser glass: goods stand kitchen size wash vessel
Flasche f Flaschen bottle: stand open size vessel
Hemd n Hemden shirt: goods wear color lie wash age
Kleid n Kleider dress: goods wear color lie wash age pretty fem_wear
Jacke f Jacken jacket: goods wear color lie wash age weather
Mantel m Mäntel coat: goods wear color lie age weather
Hut m Hüte hat: goods wear color age pretty lie
Pullover m Pullover sweater: goods wear color lie wash age weather
Schuh m Schuhe shoe: goods pair color age clean
Tür f Türen door: open close color part
Fenster n Fenster window: open close clean part
Haus n Häuser house: building big_goods size age pretty
Wohnung f Wohnungen apartment: clean tidy big_goods size age pretty
Zimmer n Zimmer room: clean tidy size pretty
Küche f Küchen kitchen: clean tidy size
Büro n Büros office: clean tidy size
Keller m Keller basement: clean tidy
Garten m Gärten garden: size pretty
Stadt f Städte city: size age pretty town
Dorf n Dörfer village: size age pretty town
Park m Parks park: size pretty
Schule f Schulen school: building size age
Bahnhof m Bahnhöfe train_station: building size age station
Flughafen m Flughäfen airport: building size station
Supermarkt m Supermärkte supermarket: building size
Markt m Märkte market: size
Museum n Museen museum: building size age sight
Kino n Kinos cinema: building size age
Theater n Theater theater: building size age
Restaurant n Restaurants restaurant: building size age eatery pretty
Café n Cafés café: building size eatery pretty
Bibliothek f Bibliotheken library: building size age
Krankenhaus n Krankenhäuser hospital: building size age
Kirche f Kirchen church: building size age pretty sight
Hotel n Hotels hotel: building size age pretty lodging
Bäckerei f Bäckereien bakery: building size
Apotheke f Apotheken pharmacy: building size
Universität f Universitäten university: building size age
Strand m Strände beach: pretty
See m Seen lake: size pretty
Wald m Wälder forest: size pretty
Bus m Busse bus: transport
Zug m Züge train: transport
Taxi n Taxis taxi: cab
Frage f Fragen question: abstract simple have
Problem n Probleme problem: abstract have
Wort n Wörter word: abstract simple
Text m Texte text: read abstract simple text
Antwort f Antworten answer: abstract
Film m Filme movie: look_film text age
Lied n Lieder song: sing pretty age
Urlaub m - vacation: event ours
Wochenende n - weekend: event
Konzert n Konzerte concert: event
Reise f Reisen trip: event long ours
Fest n Feste party: event
Musik f - music: hobby hobby_music
Kunst f - art: hobby
Sport m - sports: hobby
Geschichte f - history: hobby
Hilfe f - help: aid
Geld n - money: money
Zeit f - time: time
"""
