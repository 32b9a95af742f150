"use strict";
(() => {
  // The words of the nearest point follow the pointer at once; without script the browser shows each title itself.
  const tip = document.getElementById("tip");
  const words = new Map();
  let hot = null;
  const rest = () => {
    tip.hidden = true;
    if (hot) hot.classList.remove("vs-hot");
    hot = null;
  };
  const show = (mark, x, y) => {
    if (hot !== mark) {
      rest();
      hot = mark;
      if (mark.classList.contains("vs-pt")) mark.classList.add("vs-hot");
      tip.textContent = words.get(mark);
    }
    tip.hidden = false;
    const w = tip.offsetWidth, h = tip.offsetHeight;
    const left = x + 16 + w > innerWidth ? x - w - 16 : x + 16;
    const top = y + 18 + h > innerHeight ? y - h - 14 : y + 18;
    tip.style.transform = `translate(${Math.max(4, left)}px,${Math.max(4, top)}px)`;
  };
  // From a drawing to its table, and there to the row of a mark.
  const go = (link, mark) => {
    const table = document.getElementById(link.hash.slice(1)), row = mark && mark.dataset.r;
    for (const here of document.querySelectorAll("tr.here")) here.classList.remove("here");
    table.open = true;
    const place = (row !== undefined && row !== null && table.querySelector(`tr[data-r="${row}"]`)) || table;
    if (place !== table) place.classList.add("here");
    setTimeout(() => place.scrollIntoView({ block: place === table ? "start" : "center" }));
  };
  for (const table of document.querySelectorAll("details.drawn table"))
    [...table.tBodies[0].rows].forEach((row, idx) => (row.dataset.r = idx));
  for (const svg of document.querySelectorAll("svg.vs-fig")) {
    let points = null, stops = [], at = -1;
    const start = () => {
      if (points) return;
      points = [];
      for (const title of [...svg.querySelectorAll("title")]) {
        const mark = title.parentNode;
        words.set(mark, title.textContent);
        title.remove();
        const box = mark.getBBox();
        const point = [mark, box.x + box.width / 2, box.y + box.height / 2];
        stops.push(point);
        if (mark.classList.contains("vs-pt") && mark.tagName !== "rect") points.push(point);
      }
      // A dot a step from left to right; cells and bars row by row.
      const isRows = points.length === 0;
      stops.sort((a, b) => (isRows ? a[2] - b[2] || a[1] - b[1] : a[1] - b[1] || a[2] - b[2]));
    };
    const move = (event) => {
      start();
      if (words.has(event.target)) return show(event.target, event.clientX, event.clientY);
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null, least = 28 * 28;
      for (const point of points) {
        const distance = (point[1] - at.x) ** 2 + (point[2] - at.y) ** 2;
        if (distance < least) [best, least] = [point, distance];
      }
      if (best) show(best[0], event.clientX, event.clientY);
      else rest();
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerleave", rest);
    // A click leads from a mark to its row; a finger touches once to read and once more to go there.
    const link = svg.closest("a.drawing");
    let before = null;
    svg.addEventListener("pointerdown", (event) => {
      before = hot;
      move(event);
    });
    svg.addEventListener("click", (event) => {
      if (event.pointerType === "touch" && hot !== before) return event.preventDefault();
      if (link) go(link, hot);
    });
    // With the figure in focus the arrow keys go from value to value.
    const box = svg.closest(".scroll");
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return rest();
      if (event.key === "Enter" && link && hot && event.target === box) return link.click(), go(link, hot);
      start();
      const last = stops.length - 1;
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
      if (to === undefined || last < 0) return;
      event.preventDefault();
      at = Math.min(Math.max(to, 0), last);
      const mark = stops[at][0], here = mark.getBoundingClientRect(), room = box.getBoundingClientRect();
      if (here.left < room.left || here.right > room.right) box.scrollLeft += here.left - room.left - room.width / 2;
      const now = mark.getBoundingClientRect();
      show(mark, now.left + now.width / 2, now.top + now.height / 2);
    });
    box.addEventListener("blur", rest);
  }
  addEventListener("scroll", rest, { passive: true });
  // A click on a head sorts its table; numbers fall first, words rise first, empty cells stay last.
  for (const head of document.querySelectorAll("table.sortable th")) {
    head.firstChild.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0], rows = [...body.rows], idx = head.cellIndex;
      const key = (row) => {
        const cell = row.cells[idx], text = cell.textContent;
        if (text === "–" || text === "") return null;
        const number = Number(cell.dataset.v ?? text.replace("−", "-"));
        return Number.isNaN(number) ? text : number;
      };
      const isNumeric = rows.some((row) => typeof key(row) === "number");
      const was = head.getAttribute("aria-sort");
      const rises = was ? was === "descending" : !isNumeric;
      const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      const keyed = rows.map((row) => [key(row), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return rises ? compare(a, b) : compare(b, a);
      });
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rises ? "ascending" : "descending");
      body.append(...keyed.map((pair) => pair[1]));
    });
  }
  // A number that leads to a table opens it.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const table = target && (target.id === "all-metrics" ? target.nextElementSibling : target);
    if (!table || table.tagName !== "DETAILS") return;
    table.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  for (const link of document.querySelectorAll("td a, dd a")) link.addEventListener("click", () => setTimeout(reveal));
  reveal();
  // Paper shows every table.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
})();
