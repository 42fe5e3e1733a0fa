// Shows the OpenAPI of one service at a time; the choice is in the address, so that it can be linked to.
const services = [/* urls */];
const wanted = new URLSearchParams(location.search).get("service");
const shown = services.find((service) => service.name === wanted) ?? services[0];

const menu = document.getElementById("services");
for (const service of services) {
  const link = document.createElement("a");
  link.textContent = service.name;
  link.href = "?service=" + encodeURIComponent(service.name);
  if (service === shown) link.setAttribute("aria-current", "page");
  menu.append(link);
}

SwaggerUIBundle({
  url: shown.url,
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  persistAuthorization: true,
  validatorUrl: null,
});
