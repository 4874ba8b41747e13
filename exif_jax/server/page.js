"use strict";
// The page of exif-serve: sends photos, asks how they fare, shows the list. Text from files and from
// the server is put in as text, never as markup.
(() => {
  const by = (id) => document.getElementById(id);
  const maxBytes = Number(document.body.dataset.maxBytes);
  const AT_A_TIME = 2, BUSY_MS = 700, IDLE_MS = 5000;
  const BANDS = {
    "strong": ["strong", "●●●", "Strong evidence that parts come from different cameras"],
    "weak": ["weak", "●●○", "Weak evidence that parts come from different cameras"],
    "slight signs": ["slight", "●○○", "Slight signs that parts come from different cameras"],
    "no evidence": ["none", "○○○", "No evidence that parts come from different cameras"],
  };

  const ORDER = Object.keys(BANDS);
  // A band of a later version stands where it is shown: with slight signs.
  const rank = (name) => ORDER.indexOf(ORDER.includes(name) ? name : "slight signs");

  let photos = [], version = -1, sending = [], chosen = [], known = new Map(), first = true, number = 0;
  const cards = new Map();

  // --- small things ---

  const visible = (text) => [...text].map((c) => /[\p{C}\u2028\u2029]/u.test(c)
    ? `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩` : c).join("");
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const megabytes = (bytes) => bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  const say = (words) => { by("live").textContent = words; };
  const warn = (words) => {
    if (by("alert").textContent !== words) by("alert").textContent = words;
    by("alert").hidden = !words;
  };
  const upper = (words) => visible(words.slice(0, 1).toUpperCase() + words.slice(1));
  const band = ({ band: name, verdict: words, reason }) => BANDS[name]
    ?? (name ? ["slight", "●○○", upper(name)]
      : ["unjudged", "–", reason.startsWith("the photo is flat") ? "Not judged: the photo shows no texture" : upper(words || "not judged")]);
  const chance = (p) => p >= 0.095 ? `About ${Math.round(10 * p)} in 10 untouched photos score this high.`
    : `About ${Math.max(1, Math.round(100 * p))} in 100 untouched photos${p < 0.02 ? ", or fewer," : ""} score this high.`;
  const address = (photo, file) => `/photos/${encodeURIComponent(photo.id)}/${file}`;

  // --- one photo ---

  const frame = (photo, mapped, opacity) => {
    const name = visible(photo.name), { width, height } = photo.summary;
    const box = make("div", { class: mapped ? "frame mapped" : "frame" },
      make("img", { src: address(photo, "photo.jpg"), alt: mapped ? "" : `${name}`, loading: "lazy" }));
    box.style.aspectRatio = `${width} / ${height}`;
    if (mapped) {
      const map = make("img", { src: address(photo, "map.png"), alt: `Map of ${name}: bright parts resemble the rest least`, loading: "lazy" });
      if (opacity !== undefined) map.style.opacity = opacity;
      box.append(map);
    }
    return box;
  };
  const verdict = (photo) => {
    const [kind, dots, words] = band(photo.summary);
    return make("p", { class: `verdict ${kind}` }, make("span", { class: "dots", "aria-hidden": "true" }, dots), words);
  };
  const details = ({ summary }) => [
    // A reason names the chance too.
    summary.reason ? make("p", {}, `${upper(summary.reason)}.`) : summary.p_value === null ? null : make("p", {}, chance(summary.p_value)),
    summary.file ? make("p", {}, `The file: ${visible(summary.file)}`) : null,
    summary.note ? make("p", { class: "note" }, visible(summary.note)) : null,
    make("p", { class: "quiet" }, [`Score ${summary.score === null ? "unknown" : summary.score.toFixed(3)}`, `${summary.width} × ${summary.height} pixels`,
      summary.support ? visible(summary.support) : null, summary.exif ? `EXIF against pixels: ${visible(summary.exif)}` : null].filter(Boolean).join(" · ")),
  ];
  const removeButton = (photo) => make("button", {
    type: "button", class: "linklike push", "aria-label": `Remove ${visible(photo.name)}`, onclick: () => (photo.file ? drop(photo) : remove(photo.id)),
  }, "Remove");
  const heading = (photo) => make("h3", { id: `name-${photo.id}`, title: visible(photo.name) }, visible(photo.name));

  const doneCard = (photo) => {
    const pick = make("input", { type: "checkbox", "aria-label": `Compare ${visible(photo.name)}`, onchange: (event) => choose(photo.id, event.target.checked) });
    pick.checked = chosen.includes(photo.id);
    const get = (file, words) => make("a", { href: `${address(photo, file)}?download=1`, download: true, "aria-label": `${words} of ${visible(photo.name)}` }, words);
    return [
      make("div", { class: "pictures" }, frame(photo, false), frame(photo, true)),
      make("div", { class: "body" },
        make("div", { class: "top" }, heading(photo), make("label", { class: "pick" }, pick, " Compare")),
        verdict(photo), ...details(photo),
        make("div", { class: "links" },
          make("a", { class: "button", href: address(photo, "report.html"), target: "_blank", rel: "noopener", "aria-label": `Open the report of ${visible(photo.name)}` }, "Open report"),
          get("report.html", "Report file"), get("result.json", "JSON"), get("mask.png", "Mask"),
          make("a", { href: `/photos/${encodeURIComponent(photo.id)}.zip`, download: true, "aria-label": `All files of ${visible(photo.name)} as a zip` }, "Zip"),
          removeButton(photo))),
    ];
  };
  const waitingWords = (photo) => photo.state === "working" ? `${photo.step || "Beginning"} …`
    : photo.ahead ? `Waits for its turn: ${photo.ahead} before it` : "Waits for its turn";
  const pendingCard = (photo) => [make("div", { class: "body" },
    make("div", { class: "top" }, heading(photo), make("span", { class: "side" }, megabytes(photo.num_bytes), removeButton(photo))),
    photo.state === "failed" ? make("p", { class: "why" }, visible(photo.error)) : make("p", { class: "quiet" }, waitingWords(photo)),
    photo.state === "working" ? make("progress", { "aria-labelledby": `name-${photo.id}` }) : null)];
  const sendingCard = (upload) => [make("div", { class: "body" },
    make("div", { class: "top" }, heading(upload), make("span", { class: "side" }, megabytes(upload.num_bytes), removeButton(upload))),
    upload.error ? make("p", { class: "why" }, visible(upload.error)) : make("p", { class: "quiet" }, upload.words),
    upload.error || upload.sent === null ? null : make("progress", { max: 1, value: upload.sent, "aria-labelledby": `name-${upload.id}` }))];

  // --- the list ---

  const strength = (photo) => photo.state !== "done" ? [3, 0, 0]
    : photo.summary.p_value === null ? [2, 0, -photo.summary.score]
      : [1, rank(photo.summary.band), photo.summary.p_value];
  const sorted = (all) => {
    const how = by("sort").value, list = [...all];
    if (how === "name") list.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    if (how === "strength") {
      list.sort((a, b) => {
        const [x, y] = [strength(a), strength(b)];
        return x[0] - y[0] || x[1] - y[1] || x[2] - y[2];
      });
    }
    return list;
  };
  const show = () => {
    const listed = photos.filter((photo) => photo.state !== "uploading");
    const all = sorted([...listed, ...sending]), list = by("photos"), active = document.activeElement;
    const ids = new Set(all.map((photo) => photo.id));
    for (const [id, card] of cards) {
      if (!ids.has(id)) { card.remove(); cards.delete(id); }
    }
    let before = null;
    for (const photo of all) {
      const state = JSON.stringify([photo.state, photo.step, photo.ahead, photo.error, photo.sent, photo.words, photo.summary]);
      let card = cards.get(photo.id);
      if (!card) {
        card = make("li", { class: "card", id: `photo-${photo.id}`, "aria-labelledby": `name-${photo.id}` });
        cards.set(photo.id, card);
      }
      if (card.dataset.state !== state) {
        const focused = card.contains(document.activeElement) ? document.activeElement.className : null;
        card.dataset.state = state;
        card.className = `card ${photo.state === "done" ? "" : "plain"} ${photo.state ?? (photo.error ? "failed" : "sending")}`;
        card.replaceChildren(...(photo.state === undefined ? sendingCard(photo) : photo.state === "done" ? doneCard(photo) : pendingCard(photo)));
        if (focused !== null) card.getElementsByClassName(focused)[0]?.focus();
      }
      const place = before ? before.nextSibling : list.firstChild;
      if (place !== card) list.insertBefore(card, place);
      before = card;
    }
    // What moves to another place in the list loses the focus.
    if (active !== document.activeElement && active.isConnected) active.focus({ preventScroll: true });
    chosen = chosen.filter((id) => listed.some((photo) => photo.id === id));
    const done = listed.filter((photo) => photo.state === "done");
    const failed = all.filter((photo) => photo.state === "failed" || photo.error).length, finished = done.length + failed;
    by("list").hidden = all.length === 0;
    document.body.classList.toggle("some", all.length > 0);
    const tally = Object.values(BANDS).map(([kind]) => kind).map((kind) => [kind, done.filter((photo) => band(photo.summary)[0] === kind).length]);
    const words = { strong: "strong", weak: "weak", slight: "slight", none: "without evidence" };
    const parts = tally.filter(([, count]) => count).map(([kind, count]) => `${count} ${words[kind]}`);
    const unjudged = done.filter((photo) => band(photo.summary)[0] === "unjudged").length;
    if (unjudged) parts.push(`${unjudged} not judged`);
    if (failed) parts.push(`${failed} not read`);
    by("count").textContent = `${all.length} photo${all.length === 1 ? "" : "s"}${parts.length ? `: ${parts.join(", ")}` : ""}`;
    by("overall").hidden = finished === all.length;
    by("total").max = Math.max(1, all.length);
    by("total").value = finished;
    by("totalwords").textContent = `${finished} of ${all.length} done`;
    by("compare").disabled = chosen.length !== 2;
    by("hint").hidden = done.length < 2;
    by("zip").hidden = done.length === 0;
    for (const box of document.querySelectorAll(".pick input")) {
      box.disabled = chosen.length === 2 && !box.checked;
    }
    if (document.title !== `${finished === all.length ? "" : `(${finished}/${all.length}) `}exif-jax: find spliced photos`) {
      document.title = `${finished === all.length ? "" : `(${finished}/${all.length}) `}exif-jax: find spliced photos`;
    }
  };
  const announce = () => {
    const news = photos.filter((photo) => ["done", "failed"].includes(photo.state) && known.get(photo.id) !== photo.state);
    known = new Map(photos.map((photo) => [photo.id, photo.state]));
    if (first || news.length === 0) return;
    const last = news[news.length - 1];
    const words = last.state === "done" ? band(last.summary)[2] : last.error;
    const left = photos.filter((photo) => ["waiting", "working"].includes(photo.state)).length + sending.filter((upload) => !upload.error).length;
    say(`${visible(last.name)}: ${visible(words)}. ${news.length > 1 ? `${news.length - 1} more done. ` : ""}${left ? `${left} to go.` : "All done."}`);
  };

  let timer = 0, asking = false, again = false;
  const ask = async () => {
    clearTimeout(timer);
    if (asking) { again = true; return; }  // one at a time: no older list comes after a newer one
    asking = true;
    // What was taken before this question is in its answer.
    const taken = sending.filter((upload) => upload.taken);
    try {
      const answer = await fetch(`/api/photos?version=${version}`);
      if (answer.status === 401) location.reload();
      if (answer.status === 200) {
        ({ version, photos } = await answer.json());
      }
      if (answer.ok) {  // 204: as before
        const listed = new Set(photos.map((photo) => photo.id));
        sending = sending.filter((upload) => !taken.includes(upload) && !listed.has(upload.taken));
        if (answer.status === 200) announce();
        first = false;
        if (answer.status === 200 || taken.length) show();
      }
      warn("");
    } catch {
      warn("The program behind this page does not answer: it may have been ended. Start exif-serve again.");
    }
    asking = false;
    if (again) { again = false; ask(); return; }
    const busy = sending.some((upload) => !upload.error) || photos.some((photo) => ["uploading", "waiting", "working"].includes(photo.state));
    timer = setTimeout(ask, busy ? BUSY_MS : IDLE_MS);
  };

  // --- sending ---

  const drop = (upload) => {
    upload.request?.abort();
    sending = sending.filter((other) => other !== upload);
    focusAfter(upload.id);
    next();
    show();
  };
  const finishUpload = (upload, error, id) => {
    upload.request = null;
    if (error) Object.assign(upload, { error, sent: null });
    else Object.assign(upload, { taken: id, sent: null, words: "Waits for its turn" });
    next();
    if (error) show();
    else ask();
  };
  const send = (upload) => {
    const request = new XMLHttpRequest();
    Object.assign(upload, { request, sent: 0, words: "On its way …" });
    request.upload.addEventListener("progress", (event) => {
      upload.sent = event.loaded / Math.max(1, event.total);
      show();
    });
    request.addEventListener("load", () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said by its status */ }
      if (request.status === 201) finishUpload(upload, "", answer.id);
      else if (request.status === 503) {  // the queue is full: it goes on when there is room
        Object.assign(upload, { request: null, sent: null, words: "Waits to be sent", pause: true });
        setTimeout(() => { upload.pause = false; next(); }, 1500);
        show();
      } else if (request.status === 401) location.reload();
      else finishUpload(upload, `Not taken: ${answer.error ?? `error ${request.status}`}.`);
    });
    request.addEventListener("error", () => finishUpload(upload, "It could not be sent: the file cannot be read, is too large, or the program has ended."));
    request.open("POST", "/api/photos");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-File-Name", encodeURIComponent(upload.name.replace(/[\uD800-\uDFFF]/gu, "\uFFFD")));
    request.send(upload.file);
  };
  const next = () => {
    for (const upload of sending) {
      if (sending.filter((other) => other.request).length >= AT_A_TIME) return;
      if (!upload.request && !upload.error && !upload.pause && !upload.taken) send(upload);
    }
  };
  const take = (files) => {
    for (const file of files) {
      const upload = { id: `sent-${++number}`, name: file.name, num_bytes: file.size, file, sent: null, words: "Waits to be sent", error: "", request: null };
      if (file.size > maxBytes) upload.error = `Not sent: larger than ${megabytes(maxBytes)}. Crop it or save it with compression.`;
      sending.push(upload);
    }
    if (files.length) say(`${files.length} photo${files.length === 1 ? "" : "s"} added`);
    show();
    next();
  };
  // A folder that is dropped gives its files, and those of folders in it.
  const filesOf = async (entry) => {
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader(), found = [];
    for (;;) {
      const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (entries.length === 0) return found;
      for (const inner of entries) found.push(...await filesOf(inner));
    }
  };

  // --- buttons ---

  const focusAfter = (id) => {
    const card = cards.get(id), other = card?.nextElementSibling ?? card?.previousElementSibling;
    (other?.querySelector(".push") ?? by("files")).focus();
  };
  const remove = async (id) => {
    focusAfter(id);
    await fetch(`/api/photos/${encodeURIComponent(id)}`, { method: "DELETE" }).catch(() => null);
    say("Removed");
    ask();
  };
  const choose = (id, on) => {
    chosen = on ? [...chosen, id] : chosen.filter((other) => other !== id);
    say(chosen.length === 2 ? "Two photos chosen: compare them with the button above the list" : `${chosen.length} of two photos chosen`);
    show();
  };
  const layer = () => {
    const map = document.querySelector("input[name=layer]:checked").value === "map";
    by("blend").disabled = !map;
    by("two").replaceChildren(...chosen.map((id) => photos.find((photo) => photo.id === id)).filter(Boolean).map((photo) =>
      make("article", {}, heading({ ...photo, id: `pair-${photo.id}` }), frame(photo, map, map ? by("blend").value / 100 : undefined), verdict(photo), ...details(photo))));
  };
  by("compare").addEventListener("click", () => { layer(); by("pair").showModal(); });
  for (const input of [by("blend"), ...document.querySelectorAll("input[name=layer]")]) input.addEventListener("input", layer);
  by("sort").addEventListener("change", show);
  by("print").addEventListener("click", () => window.print());
  by("clear").addEventListener("click", async () => {
    if (!window.confirm("Remove all photos and their results?")) return;
    for (const upload of sending) upload.request?.abort();
    sending = [];
    await fetch("/api/photos", { method: "DELETE" }).catch(() => null);
    by("files").focus();
    say("All removed");
    ask();
  });
  by("files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragenter"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); document.body.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const plain = [...event.dataTransfer.files];
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return take(plain);
    const found = await Promise.all(entries.map((entry) => filesOf(entry).catch(() => [])));
    take(found.flat());
  });
  window.addEventListener("beforeunload", (event) => {
    if (sending.some((upload) => !upload.error)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  ask();
})();
