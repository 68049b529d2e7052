// What scripts add to pages that work without them: local times, copying, the moving budget bars, and calm swaps while one types.
"use strict";
(() => {
  const local = (root) => root.querySelectorAll("time[datetime]").forEach((time) => {
    const at = new Date(time.getAttribute("datetime"));
    if (!Number.isNaN(at.getTime())) {
      time.title = time.textContent;
      time.textContent = at.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
    }
  });
  const copying = (root) => root.querySelectorAll("button[data-copy]").forEach((button) => {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const before = button.textContent;
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent.trim());
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = before; }, 1500);
    });
  });
  const budget = () => {
    const box = document.getElementById("budget");
    if (!box) return;
    const number = (id) => { const at = document.getElementById(id); return at ? Number(at.value || at.placeholder) || 0 : 0; };
    const said = (count) => count.toLocaleString(document.documentElement.lang);
    const draw = () => {
      const all = Number(box.dataset.connections), pool = number("set-default_pool_size"), room = all - Number(box.dataset.reserved);
      const most_of_one = number("set-max_db_connections") || Infinity;
      const servers = box.dataset.users.split(" ").reduce((sum, users) => sum + Math.min(pool * Number(users), most_of_one), 0);
      const clients = number("set-max_client_conn"), most = Number(box.dataset.clients);
      const bar = (id, share) => { const at = document.getElementById(id); at.setAttribute("width", Math.min(share * 100, 100).toFixed(1)); at.classList.toggle("over", share > 1); };
      bar("bar-servers", room > 0 ? servers / room : 1);
      bar("bar-clients", most > 0 ? clients / most : 1);
      document.getElementById("budget-words").textContent = `default_pool_size ${said(pool)} → ${said(servers)} / ${said(room)} · max_client_conn ${said(clients)} / ${said(most)}`;
    };
    document.querySelectorAll("#set-default_pool_size, #set-max_client_conn, #set-max_db_connections").forEach((input) => input.addEventListener("input", draw));
    draw();
  };
  // While one types, the server says what is wrong, beside the field that was touched; what it said on sending goes when that is mended.
  const checking = (form) => {
    const touched = new Set();
    let timer = 0, asked = null;
    const beside = (field) => {
      const box = field.closest(".field, .row-value") || field.parentElement;
      let said = box.querySelector("p.wrong");
      if (!said) {
        said = document.createElement("p");
        said.className = "wrong pre";
        said.id = `wrong-${field.id}`;
        said.setAttribute("role", "status");
        field.after(said);
        field.setAttribute("aria-describedby", `${said.id} ${field.getAttribute("aria-describedby") || ""}`.trim());
      }
      return said;
    };
    const show = (faults) => {
      touched.forEach((name) => {
        const field = form.elements[name];
        if (!field || !field.closest) return;
        const words = faults[name] || "";
        if (words || field.getAttribute("aria-invalid")) { const said = beside(field); said.textContent = words; said.hidden = !words; }
        if (words) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
      });
      const whole = form.querySelector("[data-whole]");
      whole.textContent = faults[""] || "";
      whole.hidden = !faults[""];
    };
    const ask = async () => {
      if (asked) asked.abort();
      asked = new AbortController();
      try {
        const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "HX-Request": "true" }, signal: asked.signal });
        if (answer.ok && (answer.headers.get("content-type") || "").startsWith("application/json")) show((await answer.json()).faults);
      } catch (error) { if (error.name !== "AbortError") console.info(error.message); }
    };
    const changed = (event) => {
      if (!event.target.name || event.target.type === "search") return;
      touched.add(event.target.name);
      clearTimeout(timer);
      timer = setTimeout(ask, 300);
    };
    form.addEventListener("input", changed);
    form.addEventListener("change", changed);
  };
  // A form is sent once; its button shows that it is under way.
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post") return;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "yes";
    if (event.submitter) event.submitter.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => {
    delete form.dataset.sent;
    form.querySelectorAll("[aria-busy]").forEach((button) => button.removeAttribute("aria-busy"));
  }));
  // A list that follows by itself keeps what is open, and waits while something in it is chosen or typed into.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    if (event.detail.xhr.status >= 400 && !event.detail.requestConfig.elt.matches("form")) { event.detail.shouldSwap = false; return; }
    const open = [...target.querySelectorAll("details[id]")].filter((each) => each.open).map((each) => each.id);
    if (open.length) target.dataset.open = open.join(" ");
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && target.contains(selection.anchorNode)) event.detail.shouldSwap = false;
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const elt = event.detail.elt;
    if (elt.id && (elt.id === "live" || elt.id === "head")) {
      if (document.hidden) { event.preventDefault(); return; }
      elt.dataset.open = [...elt.querySelectorAll("details[id]")].filter((each) => each.open).map((each) => each.id).join(" ");
      opened = elt.dataset.open.split(" ").filter(Boolean);
    }
  });
  let opened = [];
  document.addEventListener("htmx:load", (event) => {
    local(event.detail.elt.parentElement || document);
    copying(event.detail.elt);
    opened.forEach((id) => { const at = document.getElementById(id); if (at) at.open = true; });
  });
  document.addEventListener("DOMContentLoaded", () => { local(document); copying(document); budget(); document.querySelectorAll("form[data-check]").forEach(checking); document.querySelectorAll(".tabs [aria-current]").forEach((each) => each.scrollIntoView({ block: "nearest", inline: "center" })); });
})();
