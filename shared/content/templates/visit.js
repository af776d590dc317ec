(function () {
  var here = document.currentScript.dataset;
  var known = document.cookie.match(/(?:^|; )michi_visitor=([0-9a-f-]{36})(?:;|$)/);
  function random() {
    var b = crypto.getRandomValues(new Uint8Array(16));
    b[6] = (b[6] & 15) | 64;
    b[8] = (b[8] & 63) | 128;
    var hex = Array.from(b, function (n) { return (n + 256).toString(16).slice(1); }).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }
  var visit = { visitor_id: known ? known[1] : random(), page: here.page };
  document.cookie = "michi_visitor=" + visit.visitor_id + "; Max-Age=31536000; Path=/; SameSite=Lax" +
    (location.protocol === "https:" ? "; Secure" : "");
  if (document.referrer && document.referrer.indexOf(location.origin + "/") !== 0) visit.referrer = document.referrer;
  new URLSearchParams(location.search).forEach(function (value, key) {
    if (/^utm_(source|medium|campaign|term|content)$/.test(key) && value) visit[key] = value.slice(0, 100);
  });
  function put(name, value) {
    document.querySelectorAll("input[name=" + name + "]").forEach(function (input) { input.value = value; });
  }
  put("visitor_id", visit.visitor_id);
  put("time_zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "");
  fetch(here.visits, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(visit),
    keepalive: true
  }).catch(function () {});
})();
