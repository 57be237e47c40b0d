-- The list of stock begins with the newest product.
create index products_by_age on products (created_at, sku);
