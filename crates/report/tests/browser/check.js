// Runs around a report in a frame: measures it, touches it, and leaves what it found as JSON in the page.
"use strict";
const frames = () => new Promise((done) => setTimeout(done, 60));
const nameOf = (element) => element.tagName.toLowerCase() + (element.id ? `#${element.id}` : "") + (element.className?.baseVal ?? element.className ? `.${element.className?.baseVal ?? element.className}` : "");

async function check(html, width, height) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border:0;width:${width}px;height:${height}px`;
  const loaded = new Promise((done) => frame.addEventListener("load", done));
  frame.srcdoc = html;
  document.body.append(frame);
  await loaded;
  const win = frame.contentWindow, doc = frame.contentDocument;
  await frames();
  const found = { width: win.innerWidth, overflow_px: doc.documentElement.scrollWidth - doc.documentElement.clientWidth };

  // What stands beyond the edge, unless it scrolls in its own room.
  const beyond = [...doc.body.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > win.innerWidth + 1 && !one.closest(".scroll,pre,#tip"));
  found.beyond_the_edge = beyond.map(nameOf);

  // Words of a drawing that stand over one another.
  found.collisions = [];
  for (const svg of doc.querySelectorAll("svg.vs-fig")) {
    const texts = [...svg.querySelectorAll("text:not([transform])")].map((one) => [one.textContent, one.getBoundingClientRect()]);
    texts.forEach(([a, first], at) => {
      for (const [b, other] of texts.slice(at + 1)) {
        const across = Math.min(first.right, other.right) - Math.max(first.left, other.left);
        const down = Math.min(first.bottom, other.bottom) - Math.max(first.top, other.top);
        if (across > 1 && down > 3) found.collisions.push(`${svg.getAttribute("aria-label")}: ${a} / ${b}`);
      }
    });
  }

  found.figures = [];
  for (const figure of doc.querySelectorAll("figure.figure")) {
    const svg = figure.querySelector("svg.vs-fig"), images = [...figure.querySelectorAll("img")];
    const drawn = svg ?? figure.querySelector(".tiles");
    const room = figure.querySelector(".scroll"), size = drawn.getBoundingClientRect();
    const one = { id: figure.id, width: size.width, height: size.height, hovers: [], keys: [], unnamed: 0 };
    one.images_shown = images.filter((image) => image.complete && image.naturalWidth > 0).length;
    one.images = images.length;
    for (const named of [room, svg].filter(Boolean)) if (!named.getAttribute("aria-label")) one.unnamed += 1;
    one.unnamed += images.filter((image) => !image.hasAttribute("alt")).length;
    const tip = doc.getElementById("tip");
    const marks = svg ? [...svg.querySelectorAll("title")].map((title) => [title.parentNode, title.textContent]) : [];
    one.marks = marks.length;
    for (const [mark, words] of [marks[0], marks[marks.length >> 1], marks[marks.length - 1]].filter(Boolean)) {
      mark.scrollIntoView({ behavior: "instant", block: "center", inline: "center" });
      await frames();
      const box = mark.getBoundingClientRect();
      const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true };
      const hit = doc.elementFromPoint(at.clientX, at.clientY);
      hit?.dispatchEvent(new win.PointerEvent("pointermove", at));
      const shown = tip.getBoundingClientRect();
      const inside = shown.left >= 0 && shown.right <= win.innerWidth && shown.top >= 0 && shown.bottom <= win.innerHeight;
      one.hovers.push({ wanted: words, shown: tip.hidden ? null : tip.textContent, inside });
      svg.dispatchEvent(new win.PointerEvent("pointerleave", at));
      one.rests = tip.hidden;
    }
    const drawn_table = figure.querySelector("details.drawn");
    if (svg && marks.length > 0 && drawn_table) {
      // A click on a mark opens the numbers below, at its row.
      const [mark] = marks[marks.length >> 1], at = { bubbles: true, cancelable: true };
      mark.dispatchEvent(new win.PointerEvent("pointermove", at));
      mark.dispatchEvent(new win.PointerEvent("pointerdown", at));
      // A page in a frame without an address of its own would be left by its link.
      doc.addEventListener("click", (event) => event.preventDefault(), { once: true });
      mark.dispatchEvent(new win.PointerEvent("click", at));
      await frames();
      const here = drawn_table.querySelectorAll("tr.here");
      one.leads = drawn_table.open && here.length === 1 && here[0].dataset.r === mark.dataset.r;
      svg.dispatchEvent(new win.PointerEvent("pointerleave", at));
      drawn_table.open = false;
    }
    if (svg && marks.length > 0) {
      room.focus({ preventScroll: true });
      for (const key of ["ArrowRight", "ArrowRight", "End", "Escape"]) {
        room.dispatchEvent(new win.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        one.keys.push(tip.hidden ? null : tip.textContent);
      }
      one.focused = doc.activeElement === room;
    }
    found.figures.push(one);
  }

  // A table scrolls in its own room, and a click on a head sorts it.
  found.tables = [...doc.querySelectorAll("table")].map((table) => {
    table.closest("details").open = true;
    const room = table.parentElement;
    return { rows: table.tBodies[0].rows.length, scrolls: getComputedStyle(room).overflowX, wider_than_page: room.getBoundingClientRect().right > win.innerWidth + 1 };
  });
  const table = [...doc.querySelectorAll("table")].find((one) => one.tBodies[0].rows.length > 1 && !one.closest(".drawn"));
  if (table) {
    const cells = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    const before = cells();
    table.tHead.rows[0].cells[0].firstChild.click();
    table.tHead.rows[0].cells[0].firstChild.click();
    found.sorts = { before, after: cells() };
  }

  // The contents stay in sight on a wide page.
  const nav = doc.querySelector("nav");
  win.scrollTo({ top: doc.documentElement.scrollHeight, behavior: "instant" });
  await frames();
  const place = nav.getBoundingClientRect();
  found.contents = { links: nav.querySelectorAll("a").length, in_sight_at_the_end: place.bottom > 0 && place.top < win.innerHeight };
  found.dangling = [...doc.querySelectorAll("a[href^='#']")].filter((link) => !doc.getElementById(link.hash.slice(1))).map((link) => link.hash);

  const style = (selector) => win.getComputedStyle(doc.querySelector(selector));
  const paint = (selector) => { const one = doc.querySelector(selector); return one ? win.getComputedStyle(one).color : null; };
  found.colors = { background: style("body").backgroundColor, ink: style("body").color, soft: paint(".caption"), link: paint("nav a") };
  found.requests = win.performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
  frame.remove();
  return found;
}

(async () => {
  let result;
  try {
    const pages = [];
    for (const [width, height] of [[390, 844], [1280, 900]]) pages.push(await check(REPORT, width, height));
    result = { pages };
  } catch (error) {
    result = { failed: String(error?.stack ?? error) };
  }
  const out = document.createElement("pre");
  out.id = "result";
  out.textContent = JSON.stringify(result);
  document.body.replaceChildren(out);
  document.querySelectorAll("script").forEach((script) => script.remove());
})();
