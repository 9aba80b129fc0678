/* global SwaggerUIBundle */

// The page shows the document of the API that serves it. It must load nothing from other hosts: by default, a badge of
// validator.swagger.io would be loaded.
SwaggerUIBundle({
  dom_id: "#operations",
  url: "/openapi.json",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});
