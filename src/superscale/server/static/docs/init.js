// The documentation of the routes, from this server's own openapi.json.
window.addEventListener("load", () => {
  window.SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false });
});
